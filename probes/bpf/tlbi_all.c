/* SPDX-License-Identifier: GPL-2.0-only
 *
 * tlbi_all: the guest hypervisor's TLBI ALLE1 is carried out on all shadow MMUs.
 * Only marks what runs within.
 */
#include "nvscope.h"

int NV_TLBI_ALL_ENTRY(unsigned long long *ctx)
{
	nv_mark(NV_TLBI_ALL, 1);
	return 0;
}

int NV_TLBI_ALL_EXIT(unsigned long long *ctx)
{
	nv_mark(NV_TLBI_ALL, 0);
	return 0;
}
