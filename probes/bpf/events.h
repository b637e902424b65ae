/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What goes to user space as it happens: the events of traces, slow calls of one-shot probes; and who
 * has caused them.
 */
#ifndef NV_EVENTS_H
#define NV_EVENTS_H

#include "calls.h"

#ifdef BPF_F_TABLE

#if NV_TRIGGER

/* Who it is: a kernel thread has no mm, and a name that no program can take. */
nv_inline nv_u32 nv_trigger(nv_u64 kvm, const nv_u64 *ctx)
{
	nv_u64 self = (nv_u64)bpf_get_current_task_btf();
	nv_u64 mm = nv_load64(0, self, NV_OFFSET_TASK_MM);
	char comm[NV_COMM] = {};

#if NV_HAS_NUMA_SCAN
	struct nv_inflight *task = nv_task();

	if (task && nv_inside(task, NV_NUMA_SCAN, ctx))
		return NV_TRIGGER_NUMA;
#endif
	if (mm)
		return mm == nv_load64(0, kvm, NV_OFFSET_KVM_MM) ? NV_TRIGGER_VMM : NV_TRIGGER_OTHER;
	bpf_get_current_comm(comm, sizeof(comm));
	if (!__builtin_memcmp(comm, "kswapd", 6))
		return NV_TRIGGER_RECLAIM;
	if (!__builtin_memcmp(comm, "khugepaged", 10))
		return NV_TRIGGER_THP;
	if (!__builtin_memcmp(comm, "ksmd", 4))
		return NV_TRIGGER_KSM;
	if (!__builtin_memcmp(comm, "kcompactd", 9))
		return NV_TRIGGER_COMPACTION;
	return NV_TRIGGER_OTHER;
}

#define NV_TRIGGER_LABEL(kvm, ctx) (nv_trigger(kvm, ctx) << NV_TRIGGER_SHIFT)
#else
#define NV_TRIGGER_LABEL(kvm, ctx) 0
#endif

#if NV_TRACE
#define NV_EMITS_END(point, ns) 1
#elif NV_SLOW
#define NV_EMITS_END(point, ns) ((point) == NV_PROBED && (ns) >= NV_THRESHOLD_NS)
#endif

#if NV_EVENTS

#define NV_RING_QUIET 1 /* BPF_RB_NO_WAKEUP: the reader looks in from time to time */

/* Puts an event into the ring buffer. All go through one ring, whose order is
 * that of the locks under which they are put there. Fields that the caller has
 * no value for are 0 in `from`. vm: of a slow call with its labels, for the trigger.
 */
nv_inline void nv_emit(int kind, const struct nv_key *vm, struct nv_event *from)
{
	struct nv_event *event;
#if NV_SLOW
	struct nv_slow *slow = events.ringbuf_reserve(sizeof(struct nv_slow));

	event = (struct nv_event *)slow; /* its first member */
#else
	event = events.ringbuf_reserve(sizeof(struct nv_event));
#endif
	if (!event) {
		nv_lose(NV_LOST_RING_FULL);
		return;
	}
#if NV_SLOW
	/* Not bpf_get_stackid(): arm64 has none for it in a task that runs a vCPU. */
	slow->stack_bytes = bpf_get_task_stack(bpf_get_current_task_btf(), slow->stack,
					       sizeof(slow->stack), 0);
	slow->trigger = vm->labels >> NV_TRIGGER_SHIFT;
#endif
	*event = *from;
	event->time_ns = bpf_ktime_get_ns();
	event->kvm = vm->kvm;
	event->pid = vm->pid;
	event->tid = bpf_get_current_pid_tgid();
	event->cpu = bpf_get_smp_processor_id();
	event->kind = kind;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
#if NV_SLOW
	events.ringbuf_submit(slow, NV_RING_QUIET);
#else
	events.ringbuf_submit(event, NV_RING_QUIET);
#endif
}

#endif /* NV_EVENTS */
#endif /* BPF_F_TABLE */
#endif /* NV_EVENTS_H */
