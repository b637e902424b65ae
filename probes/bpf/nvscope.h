/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What all probe programs share: the layout that user space reads, and the
 * start-to-end bookkeeping of one call.
 *
 * The first half is plain C (decode.py mirrors it, a unit test compiles it).
 * The second half needs bcc. bcc rewrites map calls in the main source only,
 * never in what is included: programs.py puts this header's text first, and
 * the #include in each program file then finds it already there.
 */
#ifndef NVSCOPE_H
#define NVSCOPE_H

/* ---- layout: keys and values of the maps ---- */

typedef unsigned long long nv_u64;
typedef unsigned int nv_u32;

#define NV_SLOTS 40 /* log2 slots of nanoseconds: see snapshot.py */
#define NV_SPARE_ROWS 32
#define NV_ENOMEM 12 /* asm-generic/errno-base.h */
#define NV_ARGS 4   /* the most arguments that a program needs at exit */

enum nv_point {
	NV_NOTIFIER_UNMAP,
	NV_S2_FAULT,
	NV_SHADOW_UNMAP,
	NV_TLBI_VMID,
	NV_TLBI_ALL,
	NV_MMU_RECYCLE,
	NV_MMU_FREE,
	NV_VM_EXIT,
	NV_REVMAP_RECORD,
	NV_REVMAP_BROKEN,
	NV_REVMAP_FALLBACK,
	NV_MMU_INIT,
	NV_SHADOW_MAP,
	NV_NUMA_SCAN,
	NV_S2_MAP,
	NV_S2_RELAX,
	NV_S2_WALK,
	NV_POINTS,
};

/* nv_key.labels: the point above NV_POINT_SHIFT, its own bits below. */
#define NV_POINT_SHIFT 8
#define NV_TRIGGER_SHIFT 16 /* one-shot probes: enum nv_trigger */
#define NV_LABEL_BITS 64     /* the bits of all points are below */
#define NV_FAULT_SHADOW 1    /* s2_fault: of a shadow stage 2 */
#define NV_FAULT_ERROR 2     /* s2_fault: returned an error */
#define NV_FAULT_REFAULT 4   /* s2_fault: see struct nv_mmu */
#define NV_UNMAP_FULL 1      /* shadow_unmap: the whole MMU */
#define NV_WITHIN_SHIFT 1    /* shadow_unmap: enum nv_within */
#define NV_REASON_SHIFT 3    /* shadow_unmap, full ones in a notifier unmap: enum nv_reason */

/* What a shadow unmap ran within. */
enum nv_within {
	NV_WITHIN_OTHER,
	NV_WITHIN_NOTIFIER,
	NV_WITHIN_TLBI,
	NV_WITHIN_RECYCLING,
	NV_WITHINS,
};

/* Why a notifier unmap fell back to a full one; NONE: it was no fallback. */
enum nv_reason {
	NV_REASON_NONE,
	NV_REASON_BROKEN,
	NV_REASON_UNKNOWN_IPA,
	NV_REASON_RACED,
	NV_REASON_UNKNOWN,
	NV_REASONS,
};

/* revmap_record: what became of it; its label bits. */
enum nv_outcome {
	NV_OUTCOME_UNKNOWN,
	NV_OUTCOME_STORED,
	NV_OUTCOME_UNCHANGED,
	NV_OUTCOME_OVERLAPPED,
	NV_OUTCOME_FAILED,
	NV_OUTCOME_SKIPPED,
	NV_OUTCOMES,
};

/* One-shot probes: who caused a call; NONE: that was not asked. */
enum nv_trigger {
	NV_TRIGGER_NONE,
	NV_TRIGGER_VMM, /* the VM's own process */
	NV_TRIGGER_RECLAIM,
	NV_TRIGGER_THP,
	NV_TRIGGER_KSM,
	NV_TRIGGER_COMPACTION,
	NV_TRIGGER_NUMA,
	NV_TRIGGER_OTHER,
	NV_TRIGGERS,
};

/* Why an event is not in the rows: the index into the map "lost". The two missed ones are counted
 * by point, in the map "missed".
 */
enum nv_loss {
	NV_LOST_START_FULL,   /* no memory to note a call's start */
	NV_LOST_VM_FULL,      /* no room for another VM's row */
	NV_LOST_MISSED_EXIT,  /* a call began, and its end was not seen */
	NV_LOST_MISSED_ENTRY, /* a call ended, and its begin was not seen */
	NV_LOST_MMU_FULL,     /* no room for another shadow MMU's state */
	NV_LOST_RING_FULL,    /* traces, slow calls: the reader was too slow */
	NV_LOST_NO_CANONICAL, /* traces: what a shadow mapping leads to was not seen */
	NV_LOSSES,
};

/* The index into the map "missed": 2 * point + edge. */
enum nv_edge {
	NV_EDGE_ENTRY,
	NV_EDGE_EXIT,
	NV_EDGES,
};

struct nv_key {
	nv_u64 kvm; /* struct kvm * */
	nv_u32 pid; /* kvm->userspace_pid */
	nv_u32 labels;
};

struct nv_row {
	nv_u64 sum_ns;
	nv_u64 size_bytes; /* ranged shadow unmaps: sum of the sizes asked for */
	nv_u64 slots[NV_SLOTS];
};

/* What is known of a shadow MMU, keyed by its struct kvm_pgtable *: that is the
 * MMU's own from its begin to its end, while the struct kvm_s2_mmu lies in an
 * array which Linux 6.16 to 7.1 move when a vCPU is initialised.
 *
 * owed: mappings that notifier unmaps took and that have not come back. A full
 * unmap takes all that is mapped, a ranged one one mapping. As long as it is
 * positive a shadow fault is a refault. Racing vCPUs may each take the last
 * one: it is then negative until the next unmap.
 */
struct nv_mmu {
	nv_u64 kvm; /* struct kvm * */
	nv_u32 pid; /* kvm->userspace_pid */
	nv_u32 broken;
	long long mapped; /* shadow faults since it was emptied */
	long long owed;
};

/* Of a row of a trace: events.py tells what each means. */
enum nv_event_kind {
	NV_EVENT_LOSS, /* never from here: the recorder's own */
	NV_EVENT_MMU_INIT,
	NV_EVENT_MMU_FREE,
	NV_EVENT_MMU_RECYCLE,
	NV_EVENT_VM_EXIT,
	NV_EVENT_NOTIFIER_BEGIN,
	NV_EVENT_NOTIFIER_END,
	NV_EVENT_RECORD,
	NV_EVENT_BROKEN,
	NV_EVENT_FALLBACK,
	NV_EVENT_MAP,
	NV_EVENT_UNMAP_BEGIN,
	NV_EVENT_UNMAP_END,
	NV_EVENT_FAULT,
	NV_EVENT_KINDS,
};

#define NV_COMM 16 /* TASK_COMM_LEN */
#define NV_NO_IPA (~0ULL)

struct nv_event {
	nv_u64 time_ns;
	nv_u64 kvm;
	nv_u64 mmu;
	nv_u64 canonical_ipa;
	nv_u64 nested_ipa;
	nv_u64 size;
	nv_u64 duration_ns;
	nv_u32 pid;
	nv_u32 tid;
	int result;
	nv_u32 cpu;
	unsigned char kind;
	unsigned char detail; /* enum nv_within, nv_reason or nv_outcome, by the kind */
	unsigned char full;
	unsigned char may_block;
	char comm[NV_COMM];
	nv_u32 count; /* NV_EVENT_LOSS only */
};

/* What the kernel tells of one of our programs: a record of the pin "stats". */
struct nv_stats {
	nv_u64 runs;
	nv_u64 time_ns;
	nv_u64 misses; /* not run, for it was running already on that CPU */
	nv_u32 id;
	nv_u32 unused;
};

#define NV_STACK_DEPTH 48

/* A call that took longer than a one-shot probe allows. */
struct nv_slow {
	struct nv_event event;
	nv_u32 trigger;
	int stack_bytes; /* of what follows, or -errno */
	nv_u64 stack[NV_STACK_DEPTH]; /* kernel addresses, innermost first */
};

#ifdef BPF_F_TABLE

/* ---- programs: compiled by bcc ---- */

/* Events go to user space: all of them in a trace, slow calls from a one-shot probe. */
#define NV_SLOW (NV_THRESHOLD_NS > 0)
#define NV_EVENTS (NV_TRACE || NV_SLOW)

/* Start times: zero when the task is not inside that point's function. */
#define NV_SKIP 1 /* inside, in a call that is not counted */

/* A call whose end was missed leaves its start time. So what is told by being inside a call also
 * keeps a word that lies on the task's stack for as long as the call runs, and where: see nv_inside.
 */
struct nv_frame {
	nv_u64 at;
	nv_u64 word;
};

struct nv_inflight {
	nv_u64 start_ns[NV_POINTS];
	struct nv_frame frames[NV_POINTS];
	nv_u64 args[NV_POINTS][NV_ARGS]; /* kprobes only: a return probe has none */
	nv_u32 reason;     /* enum nv_reason, inside revmap_fallback */
	nv_u32 was_broken; /* the MMU's map, when its shadow unmap began */
	nv_u32 mapped;     /* inside s2_fault: something was mapped, or may be used more freely */
#if NV_EVENTS
	nv_u64 canonical_ipa; /* that this task is about to map, or NV_NO_IPA */
#endif
};

/* Task storage, not a hash of thread ids: a third of the cost, and never full. */
BPF_F_TABLE("task_storage", int, struct nv_inflight, inflight, 0, BPF_F_NO_PREALLOC);
/* Rows are allocated as VMs turn up: all of them at once would be 3 KiB per VM and CPU. */
BPF_F_TABLE("percpu_hash", struct nv_key, struct nv_row, rows, NV_ROWS, BPF_F_NO_PREALLOC);
/* Rows that are there beforehand, for when the kernel has no memory at hand for a new one: what it
 * gives to programs is brought by another task, which on PREEMPT_RT comes late. The next call of that
 * kind gets a row of its own; readers add up both.
 */
BPF_F_TABLE("percpu_hash", struct nv_key, struct nv_row, spare, NV_SPARE_ROWS, 0);
BPF_F_TABLE("hash", nv_u64, struct nv_mmu, mmus, NV_MMUS, BPF_F_NO_PREALLOC);
BPF_ARRAY(lost, nv_u64, NV_LOSSES);
BPF_ARRAY(missed, nv_u64, NV_EDGES * NV_POINTS);
#if NV_EVENTS
BPF_RINGBUF_OUTPUT(events, NV_RING_PAGES);
#endif
/* When all was attached, on the programs' clock: calls before are not ours to miss. */
BPF_ARRAY(armed, nv_u64, 1);

#define nv_inline static inline __attribute__((always_inline))

/* `typed`: the program is fentry/fexit, where the verifier knows the type of a
 * pointer argument and of what is loaded through it: a plain load will do.
 */
nv_inline nv_u64 nv_load64(int typed, nv_u64 base, int offset)
{
	nv_u64 value = 0;

	if (typed)
		return *(nv_u64 *)(base + offset);
	bpf_probe_read_kernel(&value, sizeof(value), (void *)(base + offset));
	return value;
}

nv_inline nv_u32 nv_load32(int typed, nv_u64 base, int offset)
{
	nv_u32 value = 0;

	if (typed)
		return *(nv_u32 *)(base + offset);
	bpf_probe_read_kernel(&value, sizeof(value), (void *)(base + offset));
	return value;
}

nv_inline nv_u32 nv_load8(int typed, nv_u64 base, int offset)
{
	unsigned char value = 0;

	if (typed)
		return *(unsigned char *)(base + offset);
	bpf_probe_read_kernel(&value, sizeof(value), (void *)(base + offset));
	return value;
}

/* Argument `index`, or what lies `at` bytes into the struct it points to (at >= 0). */
nv_inline nv_u64 nv_value(int typed, const nv_u64 *args, int index, int at)
{
	return at < 0 ? args[index] : nv_load64(typed, args[index], at);
}

nv_inline void nv_lose(int cause)
{
	lost.atomic_increment(cause);
}

nv_inline void nv_miss(int point, int edge)
{
	missed.atomic_increment(NV_EDGES * point + edge);
}

/* The task is not inside the call that began then: its exit was missed, unless
 * that call began before everything was attached, or was not to be counted.
 */
nv_inline void nv_stale(int point, nv_u64 start_ns)
{
	int zero = 0;
	nv_u64 *armed_ns = armed.lookup(&zero);

	if (armed_ns && *armed_ns && start_ns >= *armed_ns)
		nv_miss(point, NV_EDGE_EXIT);
}

/* The current task's state; NULL, and counted, where there is no memory for it. */
nv_inline struct nv_inflight *nv_task(void)
{
	struct nv_inflight *task = inflight.task_storage_get(
		(void *)bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!task)
		nv_lose(NV_LOST_START_FULL);
	return task;
}

/* The same, or NULL where the task is not inside a point's function: nothing is made for it. */
nv_inline struct nv_inflight *nv_task_inside(int point)
{
	struct nv_inflight *task = inflight.task_storage_get(
		(void *)bpf_get_current_task_btf(), 0, 0);

	return task && task->start_ns[point] ? task : 0;
}

#define NV_REGS_SP 31     /* struct pt_regs of arm64, in words: sp behind x0..x30 */
#define NV_RECORD_LINK 8  /* of a frame record (AAPCS64), in bytes: the return address */

/* The argument to keep of a function with so many: `wanted`, where it has that. */
#define NV_FRAME_ARGUMENT(wanted, slots) ((wanted) < (slots) ? (wanted) : 0)

/* Keep a word that tells that a call is under way. Of fentry it is an argument (by its index), which
 * lies in the trampoline's frame: a pointer to something of this call's own, as no other call has it
 * there. Of a kprobe it is the caller's return address, in the frame record where the stack ends.
 */
nv_inline void nv_keep_frame(struct nv_inflight *task, int point, int typed, const nv_u64 *ctx,
			     int argument)
{
	struct nv_frame *frame = &task->frames[point];

	if (typed) {
		nv_u64 at = (nv_u64)ctx;

		/* Apart from ctx: before 7.3 nothing may be read by a context that was moved. */
		asm volatile("" : "+r"(at));
		frame->at = at + argument * sizeof(*ctx);
		frame->word = ctx[argument];
	} else {
		frame->at = ctx[NV_REGS_SP] + NV_RECORD_LINK;
		frame->word = nv_load64(0, frame->at, 0);
	}
}

/* Whether the task is inside a call whose frame was kept. ctx: the asking program's own, on the same
 * stack. A call that is under way lies further up, and its word with it. One that ended unseen lay
 * below us, or other calls have put their own words there since.
 */
nv_inline int nv_inside(struct nv_inflight *task, int point, const nv_u64 *ctx)
{
	struct nv_frame *frame = &task->frames[point];
	nv_u64 start_ns = task->start_ns[point];

	if (!start_ns)
		return 0;
	if (frame->at > (nv_u64)ctx && nv_load64(0, frame->at, 0) == frame->word)
		return 1;
	nv_stale(point, start_ns);
	task->start_ns[point] = 0;
	return 0;
}

/* The current task enters a function that only matters to what is called in it. */
nv_inline struct nv_inflight *nv_mark(int point, int typed, const nv_u64 *ctx, int argument)
{
	struct nv_inflight *task = nv_task();

	if (task) {
		nv_keep_frame(task, point, typed, ctx, argument);
		task->start_ns[point] = NV_SKIP;
	}
	return task;
}

/* And leaves it. */
nv_inline void nv_unmark(int point)
{
	struct nv_inflight *task = nv_task();

	if (task)
		task->start_ns[point] = 0;
}

/* A call is entered; the task's state, or NULL. */
nv_inline struct nv_inflight *nv_enter(int point, int typed, const nv_u64 *ctx)
{
	struct nv_inflight *task = nv_task();

	if (!task)
		return 0;
	if (task->start_ns[point])
		nv_stale(point, task->start_ns[point]);
	if (!typed) {
		task->args[point][0] = ctx[0];
		task->args[point][1] = ctx[1];
		task->args[point][2] = ctx[2];
		task->args[point][3] = ctx[3];
	}
	return task;
}

/* It begins. The clock is read last, so that nothing of ours is in the duration. */
nv_inline void nv_start(struct nv_inflight *task, int point, int skip)
{
	task->start_ns[point] = skip ? NV_SKIP : bpf_ktime_get_ns();
}

nv_inline struct nv_inflight *nv_begin(int point, int typed, const nv_u64 *ctx, int skip)
{
	struct nv_inflight *task = nv_enter(point, typed, ctx);

	if (task)
		nv_start(task, point, skip);
	return task;
}

/* A call ends: the task's state, or NULL when there is nothing to count.
 * On return *ns is the call's duration.
 */
nv_inline struct nv_inflight *nv_end(int point, nv_u64 *ns)
{
	nv_u64 now_ns = bpf_ktime_get_ns(), start_ns;
	struct nv_inflight *task = inflight.task_storage_get(
		(void *)bpf_get_current_task_btf(), 0, 0);

	if (!task || !task->start_ns[point]) {
		nv_miss(point, NV_EDGE_ENTRY);
		return 0;
	}
	start_ns = task->start_ns[point];
	task->start_ns[point] = 0;
	if (start_ns == NV_SKIP)
		return 0;
	*ns = now_ns - start_ns;
	return task;
}

/* fls64: slot i covers [2^(i-1), 2^i) ns, the last one also all above. The four bits that are left
 * in the end are looked up in a constant: each step less is four instructions.
 */
nv_inline nv_u32 nv_slot(nv_u64 ns)
{
	nv_u32 slot = 0;

	if (ns >> 16) {
		if (ns >> 32) { slot += 32; ns >>= 32; }
		if (ns >> 16) { slot += 16; ns >>= 16; }
	}
	if (ns >> 8) { slot += 8; ns >>= 8; }
	if (ns >> 4) { slot += 4; ns >>= 4; }
	slot += (0x4444444433332210ULL >> (ns << 2)) & 7;
	return slot < NV_SLOTS ? slot : NV_SLOTS - 1;
}

/* A row for a key that has none; NULL, and counted, where there is no room for one. */
nv_inline struct nv_row *nv_new_row(struct nv_key *key)
{
	struct nv_row zero = {};
	int error = rows.insert(key, &zero);
	struct nv_row *row = rows.lookup(key);

	if (!row && error == -NV_ENOMEM) {
		spare.insert(key, &zero);
		row = spare.lookup(key);
	}
	if (!row)
		nv_lose(NV_LOST_VM_FULL);
	return row;
}

/* Count a call; returns its row, or NULL where there is no room for one.
 * No other run of this program can come between on this CPU (the kernel
 * counts it as a recursion miss instead): plain adds will do.
 */
nv_inline struct nv_row *nv_count(struct nv_key *key, nv_u64 ns)
{
	struct nv_row *row = rows.lookup(key);

	if (!row)
		row = nv_new_row(key);
	if (!row)
		return 0;
	row->sum_ns += ns;
	row->slots[nv_slot(ns)]++;
	return row;
}

/* The VM of a shadow MMU. container_of(): the type is lost on the way back, so no plain load. */
#define NV_KVM_OF_MMU(typed, mmu) \
	(nv_load64(typed, mmu, NV_OFFSET_MMU_ARCH) - NV_OFFSET_KVM_ARCH)

nv_inline void nv_key_of(struct nv_key *key, nv_u64 kvm, nv_u32 labels)
{
	key->kvm = kvm;
	key->pid = nv_load32(0, kvm, NV_OFFSET_KVM_PID);
	key->labels = labels;
}

/* Who an MMU is, in maps and in events: see struct nv_mmu. 0 before it has page tables. */
#define NV_MMU_ID(typed, mmu) nv_load64(typed, mmu, NV_OFFSET_MMU_PGT)

/* A shadow MMU's state, made when first asked for; NULL where there is no room. */
nv_inline struct nv_mmu *nv_mmu_state(nv_u64 id, const struct nv_key *vm)
{
	struct nv_mmu *state = mmus.lookup(&id);

	if (!state) {
		struct nv_mmu fresh = { .kvm = vm->kvm, .pid = vm->pid };

		mmus.insert(&id, &fresh);
		state = mmus.lookup(&id);
		if (!state)
			nv_lose(NV_LOST_MMU_FULL);
	}
	return state;
}

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
#endif /* NVSCOPE_H */
