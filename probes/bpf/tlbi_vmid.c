/* SPDX-License-Identifier: GPL-2.0-only
 *
 * tlbi_vmid: the guest hypervisor's TLBI by VMID or nested IPA is carried out on
 * each shadow MMU of the VMID. Only marks what runs within.
 */
#include "nvscope.h"

int NV_TLBI_VMID_ENTRY(unsigned long long *ctx)
{
	nv_mark(NV_TLBI_VMID, 1);
	return 0;
}

int NV_TLBI_VMID_EXIT(unsigned long long *ctx)
{
	nv_mark(NV_TLBI_VMID, 0);
	return 0;
}
