/* SPDX-License-Identifier: GPL-2.0-only
 *
 * mmu_free: an MMU's page tables go, with their VM: what is known of it, too.
 */
#include "nvscope.h"

int NV_MMU_FREE_ENTRY(unsigned long long *ctx)
{
	nv_u64 mmu = nv_value(NV_MMU_FREE_TYPED, ctx, NV_MMU_FREE_MMU_ARG, NV_MMU_FREE_MMU_AT);

	mmus.delete(&mmu);
	return 0;
}
