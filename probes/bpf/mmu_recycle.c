/* SPDX-License-Identifier: GPL-2.0-only
 *
 * mmu_recycle: a vCPU is about to enter a shadow MMU that may have belonged to
 * another context: it is then unmapped. Only marks what runs within.
 */
#include "calls.h"

int NV_MMU_RECYCLE_ENTRY(unsigned long long *ctx)
{
	nv_mark(NV_MMU_RECYCLE, NV_MMU_RECYCLE_TYPED, ctx, 0); /* the vCPU */
	return 0;
}

int NV_MMU_RECYCLE_EXIT(unsigned long long *ctx)
{
	nv_unmark(NV_MMU_RECYCLE);
	return 0;
}
