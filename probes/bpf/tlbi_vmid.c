/* SPDX-License-Identifier: GPL-2.0-only
 *
 * tlbi_vmid: the guest hypervisor's TLBI by VMID or nested IPA is carried out on
 * each shadow MMU of the VMID. Only marks what runs within. Kept as its
 * frame: the caller's struct that says what to do.
 */
#include "calls.h"

int NV_TLBI_VMID_ENTRY(unsigned long long *ctx)
{
	nv_mark(NV_TLBI_VMID, NV_TLBI_VMID_TYPED, ctx, NV_FRAME_ARGUMENT(2, NV_TLBI_VMID_RETURN));
	return 0;
}

int NV_TLBI_VMID_EXIT(unsigned long long *ctx)
{
	nv_unmark(NV_TLBI_VMID);
	return 0;
}
