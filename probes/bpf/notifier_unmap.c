/* SPDX-License-Identifier: GPL-2.0-only
 *
 * notifier_unmap: the MMU notifier takes a canonical range from a VM.
 * Runs in whatever task reclaims, so the VM comes from the argument.
 */
#include "events.h"
#include "rows.h"

/* The range, a struct on its caller's stack. */
#define NV_NOTIFIER_FRAME NV_FRAME_ARGUMENT(1, NV_NOTIFIER_UNMAP_RETURN)

#if NV_EVENTS
nv_inline void nv_emit_notifier(int kind, const nv_u64 *args, nv_u32 labels, nv_u64 ns)
{
	const int typed = NV_NOTIFIER_UNMAP_TYPED;
	nv_u64 range = nv_value(typed, args, NV_NOTIFIER_UNMAP_RANGE_ARG,
				NV_NOTIFIER_UNMAP_RANGE_AT);
	nv_u64 first = nv_load64(typed, range, NV_OFFSET_RANGE_START);
	nv_u64 end = nv_load64(typed, range, NV_OFFSET_RANGE_END);
	struct nv_event event = {
		.canonical_ipa = first << NV_PAGE_SHIFT,
		.size = (end - first) << NV_PAGE_SHIFT,
		.may_block = nv_load8(typed, range, NV_OFFSET_RANGE_MAY_BLOCK),
		.duration_ns = ns,
	};
	struct nv_key vm = { .labels = labels };

	vm.kvm = nv_value(typed, args, NV_NOTIFIER_UNMAP_KVM_ARG, NV_NOTIFIER_UNMAP_KVM_AT);
	vm.pid = nv_load32(typed, vm.kvm, NV_OFFSET_KVM_PID);
	nv_emit(kind, &vm, &event);
}
#endif

int NV_NOTIFIER_UNMAP_ENTRY(unsigned long long *ctx)
{
	const int typed = NV_NOTIFIER_UNMAP_TYPED;
	struct nv_inflight *task;

#if NV_TRACE
	nv_emit_notifier(NV_EVENT_NOTIFIER_BEGIN, ctx, 0, 0);
#endif
	task = nv_enter(NV_NOTIFIER_UNMAP, typed, ctx);
	if (!task)
		return 0;
	nv_keep_frame(task, NV_NOTIFIER_UNMAP, typed, ctx, NV_NOTIFIER_FRAME);
	nv_start(task, NV_NOTIFIER_UNMAP, 0);
	return 0;
}

int NV_NOTIFIER_UNMAP_EXIT(unsigned long long *ctx)
{
	const int typed = NV_NOTIFIER_UNMAP_TYPED;
	struct nv_inflight *task;
	const nv_u64 *args;
	nv_u64 ns, kvm;
	nv_u32 labels;

	task = nv_end(NV_NOTIFIER_UNMAP, &ns);
	if (!task)
		return 0;
	args = typed ? ctx : task->args[NV_NOTIFIER_UNMAP];
	kvm = nv_value(typed, args, NV_NOTIFIER_UNMAP_KVM_ARG, NV_NOTIFIER_UNMAP_KVM_AT);
	labels = NV_NOTIFIER_UNMAP << NV_POINT_SHIFT | NV_TRIGGER_LABEL(kvm, ctx);
#if NV_EVENTS
	if (NV_EMITS_END(NV_NOTIFIER_UNMAP, ns))
		nv_emit_notifier(NV_EVENT_NOTIFIER_END, args, labels, ns);
#endif
	nv_count(&task->last, kvm, labels, ns);
	return 0;
}
