/* SPDX-License-Identifier: GPL-2.0-only
 *
 * s2_walk: L1's stage 2 was walked, for the fault that this task handles: where
 * that led is the canonical IPA. Only where no argument of s2_fault tells it.
 */
#include "calls.h"

#if !NV_S2_WALK_TYPED
int NV_S2_WALK_ENTRY(unsigned long long *ctx)
{
	nv_begin(NV_S2_WALK, 0, ctx, 0);
	return 0;
}
#endif

int NV_S2_WALK_EXIT(unsigned long long *ctx)
{
	const int typed = NV_S2_WALK_TYPED;
	struct nv_inflight *task;
	nv_u64 walked;
	nv_u64 *args = ctx;
#if !NV_S2_WALK_TYPED
	nv_u64 ns;

	task = nv_end(NV_S2_WALK, &ns);
	if (!task || !task->start_ns[NV_S2_FAULT])
		return 0;
	args = task->args[NV_S2_WALK];
#else
	task = nv_task_inside(NV_S2_FAULT);
	if (!task)
		return 0;
#endif
	walked = nv_value(typed, args, NV_S2_WALK_TRANS_ARG, NV_S2_WALK_TRANS_AT);
	if (!(int)ctx[NV_S2_WALK_RETURN])
		task->canonical_ipa = nv_load64(typed, walked, NV_OFFSET_TRANS_OUTPUT);
	return 0;
}
