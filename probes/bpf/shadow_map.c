/* SPDX-License-Identifier: GPL-2.0-only
 *
 * shadow_map: something is mapped by a shadow stage 2. For traces only. What it
 * leads to is known from the fault that this task handles, or from what it has
 * just noted in the reverse map. The function serves the canonical stage 2 as
 * well: those calls are skipped.
 */
#include "events.h"

#if !NV_SHADOW_MAP_TYPED
int NV_SHADOW_MAP_ENTRY(unsigned long long *ctx)
{
	nv_begin(NV_SHADOW_MAP, 0, ctx, 0);
	return 0;
}
#endif

int NV_SHADOW_MAP_EXIT(unsigned long long *ctx)
{
	const int typed = NV_SHADOW_MAP_TYPED;
	struct nv_event event = {};
	struct nv_inflight *task;
	struct nv_key vm = {};
	nv_u64 arch, mmu;
	nv_u64 *args = ctx;
#if NV_SHADOW_MAP_TYPED
	task = nv_task();
	if (!task)
		return 0;
#else
	nv_u64 ns;

	task = nv_end(NV_SHADOW_MAP, &ns);
	if (!task)
		return 0;
	args = task->args[NV_SHADOW_MAP];
#endif
	event.mmu = nv_value(typed, args, NV_SHADOW_MAP_PGT_ARG, NV_SHADOW_MAP_PGT_AT);
	mmu = nv_load64(typed, event.mmu, NV_OFFSET_PGT_MMU);
	arch = nv_load64(typed, mmu, NV_OFFSET_MMU_ARCH);
	if (mmu == arch + NV_OFFSET_ARCH_MMU)
		return 0;
	if (task->canonical_ipa == NV_NO_IPA) {
		nv_lose(NV_LOST_NO_CANONICAL);
		return 0;
	}
	event.size = nv_value(typed, args, NV_SHADOW_MAP_SIZE_ARG, NV_SHADOW_MAP_SIZE_AT);
	event.nested_ipa = nv_value(typed, args, NV_SHADOW_MAP_ADDR_ARG, NV_SHADOW_MAP_ADDR_AT) &
			   ~(event.size - 1);
	event.canonical_ipa = task->canonical_ipa & ~(event.size - 1);
	event.result = (int)ctx[NV_SHADOW_MAP_RETURN];
	nv_key_of(&vm, arch - NV_OFFSET_KVM_ARCH, 0);
	nv_emit(NV_EVENT_MAP, &vm, &event);
	return 0;
}
