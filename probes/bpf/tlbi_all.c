/* SPDX-License-Identifier: GPL-2.0-only
 *
 * tlbi_all: the guest hypervisor's TLBI ALLE1 is carried out on all shadow MMUs.
 * Only marks what runs within. Kept as its frame: the
 * caller's struct that says what to do.
 */
#include "calls.h"

int NV_TLBI_ALL_ENTRY(unsigned long long *ctx)
{
	nv_mark(NV_TLBI_ALL, NV_TLBI_ALL_TYPED, ctx, NV_FRAME_ARGUMENT(1, NV_TLBI_ALL_RETURN));
	return 0;
}

int NV_TLBI_ALL_EXIT(unsigned long long *ctx)
{
	nv_unmark(NV_TLBI_ALL);
	return 0;
}
