/* SPDX-License-Identifier: GPL-2.0-only
 *
 * revmap_fallback: a notifier unmap gives up on the reverse map and unmaps all
 * of a shadow MMU. Keeps the reason for the shadow unmap that runs within.
 * A points file may name a function that others call as well
 * (NV_REVMAP_FALLBACK_ONLY_WITHIN): it is a fallback in a notifier unmap.
 */
#include "events.h"

#if NV_REVMAP_FALLBACK_GIVES_REASON
nv_inline nv_u32 nv_fallback_reason(long long number)
{
#if NV_REVMAP_FALLBACK_CASED
	NV_REVMAP_FALLBACK_CASES
#else
	int reason = number;

	if (reason == NV_KERNEL_FALLBACK_BROKEN)
		return NV_REASON_BROKEN;
	if (reason == NV_KERNEL_FALLBACK_UNKNOWN_IPA)
		return NV_REASON_UNKNOWN_IPA;
	if (reason == NV_KERNEL_FALLBACK_RACED)
		return NV_REASON_RACED;
#endif
	return NV_REASON_UNKNOWN;
}
#endif

int NV_REVMAP_FALLBACK_ENTRY(unsigned long long *ctx)
{
	const int typed = NV_REVMAP_FALLBACK_TYPED;
	nv_u32 reason = NV_REASON_BROKEN;
	struct nv_inflight *task;

#if NV_REVMAP_FALLBACK_GIVES_REASON
	reason = nv_fallback_reason(nv_value(typed, ctx, NV_REVMAP_FALLBACK_REASON_ARG,
					     NV_REVMAP_FALLBACK_REASON_AT));
#endif
#if NV_REVMAP_FALLBACK_ONLY_WITHIN
	task = nv_task();
	if (!task || !nv_inside(task, NV_NOTIFIER_UNMAP, ctx))
		return 0;
#endif
	task = nv_mark(NV_REVMAP_FALLBACK, typed, ctx, 0); /* the MMU */
	if (task)
		task->reason = reason;
#if NV_TRACE
	nv_u64 mmu = nv_value(typed, ctx, NV_REVMAP_FALLBACK_MMU_ARG, NV_REVMAP_FALLBACK_MMU_AT);
	struct nv_event event = { .mmu = NV_MMU_ID(typed, mmu), .detail = reason };
	struct nv_key vm = {};

	nv_key_of(&vm, NV_KVM_OF_MMU(typed, mmu), 0);
	nv_emit(NV_EVENT_FALLBACK, &vm, &event);
#endif
	return 0;
}

int NV_REVMAP_FALLBACK_EXIT(unsigned long long *ctx)
{
	nv_unmark(NV_REVMAP_FALLBACK);
	return 0;
}
