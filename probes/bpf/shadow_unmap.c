/* SPDX-License-Identifier: GPL-2.0-only
 *
 * shadow_unmap: a range of a shadow stage 2 is unmapped: by a notifier unmap,
 * by the guest hypervisor's TLBI, or before the MMU is recycled. The function
 * serves the canonical stage 2 as well: those calls are skipped.
 */
#include "nvscope.h"

#define NV_VTCR_T0SZ 0x3f /* VTCR_EL2.T0SZ, bits 5:0: the IPA space is 2^(64 - T0SZ) */

int NV_SHADOW_UNMAP_ENTRY(unsigned long long *ctx)
{
	const int typed = NV_SHADOW_UNMAP_TYPED;
	nv_u64 mmu = nv_value(typed, ctx, NV_SHADOW_UNMAP_MMU_ARG, NV_SHADOW_UNMAP_MMU_AT);
	nv_u64 arch = nv_load64(typed, mmu, NV_OFFSET_MMU_ARCH);

	nv_begin(NV_SHADOW_UNMAP, typed, ctx, mmu == arch + NV_OFFSET_ARCH_MMU);
	return 0;
}

int NV_SHADOW_UNMAP_EXIT(unsigned long long *ctx)
{
	const int typed = NV_SHADOW_UNMAP_TYPED;
	nv_u64 ns, mmu, arch, kvm, start, size, t0sz, *args;
	struct nv_inflight *task;
	struct nv_key key = {};
	struct nv_row *row;
	int full;

	task = nv_end(NV_SHADOW_UNMAP, &ns);
	if (!task)
		return 0;
	args = typed ? ctx : task->args[NV_SHADOW_UNMAP];
	mmu = nv_value(typed, args, NV_SHADOW_UNMAP_MMU_ARG, NV_SHADOW_UNMAP_MMU_AT);
	start = nv_value(typed, args, NV_SHADOW_UNMAP_START_ARG, NV_SHADOW_UNMAP_START_AT);
	size = nv_value(typed, args, NV_SHADOW_UNMAP_SIZE_ARG, NV_SHADOW_UNMAP_SIZE_AT);
	arch = nv_load64(typed, mmu, NV_OFFSET_MMU_ARCH);
	t0sz = nv_load64(typed, mmu, NV_OFFSET_MMU_VTCR) & NV_VTCR_T0SZ;
	/* container_of(): the type is lost on the way back, so no plain load. */
	kvm = arch - NV_OFFSET_KVM_ARCH;
	key.kvm = kvm;
	key.pid = nv_load32(0, kvm, NV_OFFSET_KVM_PID);
	key.labels = NV_SHADOW_UNMAP << NV_POINT_SHIFT;
	full = start == 0 && t0sz && size >= 1ULL << (64 - t0sz);
	if (full)
		key.labels |= NV_UNMAP_FULL;
	if (task->start_ns[NV_NOTIFIER_UNMAP])
		key.labels |= NV_UNMAP_NOTIFIER;
	row = nv_count(&key, ns);
	if (row)
		row->size_bytes = full ? size : row->size_bytes + size;
	return 0;
}
