/* SPDX-License-Identifier: GPL-2.0-only
 *
 * mmu_free: an MMU's page tables go, with their VM: what is known of it, too.
 */
#include "events.h"
#include "rows.h"

int NV_MMU_FREE_ENTRY(unsigned long long *ctx)
{
	const int typed = NV_MMU_FREE_TYPED;
	nv_u64 mmu = nv_value(typed, ctx, NV_MMU_FREE_MMU_ARG, NV_MMU_FREE_MMU_AT);
	nv_u64 id = NV_MMU_ID(typed, mmu);

#if NV_TRACE
	struct nv_event event = { .mmu = id };
	nv_u64 arch = nv_load64(typed, mmu, NV_OFFSET_MMU_ARCH);
	struct nv_key vm = {};

	if (id && mmu != arch + NV_OFFSET_ARCH_MMU) {
		nv_key_of(&vm, arch - NV_OFFSET_KVM_ARCH, 0);
		nv_emit(NV_EVENT_MMU_FREE, &vm, &event);
	}
#endif
	nv_drop_mmu(id);
	return 0;
}
