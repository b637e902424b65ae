/* SPDX-License-Identifier: GPL-2.0-only
 *
 * shadow_unmap: a range of a shadow stage 2 is unmapped: by a notifier unmap,
 * by the guest hypervisor's TLBI, or before the MMU is recycled. The function
 * serves the canonical stage 2 as well: those calls are skipped.
 */
#include "events.h"
#include "rows.h"

#define NV_VTCR_T0SZ 0x3f /* VTCR_EL2.T0SZ, bits 5:0: the IPA space is 2^(64 - T0SZ) */

/* A notifier unmap comes first: nothing else that is told apart runs within another. */
nv_inline nv_u32 nv_within(struct nv_inflight *task, const nv_u64 *ctx)
{
	if (nv_inside(task, NV_NOTIFIER_UNMAP, ctx))
		return NV_WITHIN_NOTIFIER;
	if (nv_inside(task, NV_TLBI_VMID, ctx) || nv_inside(task, NV_TLBI_ALL, ctx))
		return NV_WITHIN_TLBI;
	return nv_inside(task, NV_MMU_RECYCLE, ctx) ? NV_WITHIN_RECYCLING : NV_WITHIN_OTHER;
}

nv_inline int nv_full(int typed, nv_u64 mmu, nv_u64 start, nv_u64 size)
{
	nv_u64 t0sz = nv_load64(typed, mmu, NV_OFFSET_MMU_VTCR) & NV_VTCR_T0SZ;

	return start == 0 && t0sz && size >= 1ULL << (64 - t0sz);
}

#if NV_EVENTS
nv_inline void nv_emit_unmap(int kind, const nv_u64 *args, nv_u32 within, nv_u32 labels, nv_u64 ns)
{
	const int typed = NV_SHADOW_UNMAP_TYPED;
	nv_u64 mmu = nv_value(typed, args, NV_SHADOW_UNMAP_MMU_ARG, NV_SHADOW_UNMAP_MMU_AT);
	struct nv_event event = {
		.mmu = NV_MMU_ID(typed, mmu),
		.nested_ipa = nv_value(typed, args, NV_SHADOW_UNMAP_START_ARG,
				       NV_SHADOW_UNMAP_START_AT),
		.size = nv_value(typed, args, NV_SHADOW_UNMAP_SIZE_ARG, NV_SHADOW_UNMAP_SIZE_AT),
		.detail = within,
		.duration_ns = ns,
	};
	struct nv_key vm = {};

	nv_key_of(&vm, NV_KVM_OF_MMU(typed, mmu), labels);
	event.full = nv_full(typed, mmu, event.nested_ipa, event.size);
	if (kind == NV_EVENT_UNMAP_BEGIN && within == NV_WITHIN_RECYCLING) {
		struct nv_event recycle = {
			.mmu = event.mmu,
			.nested_ipa = nv_load64(typed, mmu, NV_OFFSET_MMU_VTTBR),
		};

		nv_emit(NV_EVENT_MMU_RECYCLE, &vm, &recycle);
	}
	nv_emit(kind, &vm, &event);
}
#endif

int NV_SHADOW_UNMAP_ENTRY(unsigned long long *ctx)
{
	const int typed = NV_SHADOW_UNMAP_TYPED;
	nv_u64 mmu = nv_value(typed, ctx, NV_SHADOW_UNMAP_MMU_ARG, NV_SHADOW_UNMAP_MMU_AT);
	nv_u64 arch = nv_load64(typed, mmu, NV_OFFSET_MMU_ARCH);

	int canonical = mmu == arch + NV_OFFSET_ARCH_MMU;

#if NV_TRACE || (NV_OFFSET_MMU_BROKEN >= 0 && !NV_HAS_REVMAP_FALLBACK)
	struct nv_inflight *task = nv_task();
#endif
#if NV_OFFSET_MMU_BROKEN >= 0 && !NV_HAS_REVMAP_FALLBACK
	/* Now, as the kernel clears it before it is done. */
	if (task)
		task->was_broken = nv_load8(typed, mmu, NV_OFFSET_MMU_BROKEN);
#endif
#if NV_TRACE
	if (task && !canonical)
		nv_emit_unmap(NV_EVENT_UNMAP_BEGIN, ctx, nv_within(task, ctx), 0, 0);
#endif
	nv_begin(NV_SHADOW_UNMAP, typed, ctx, canonical);
	return 0;
}

/* Of a full unmap in a notifier unmap. Where the kernel does not say it, a map
 * that was not broken met an unknown IPA. It may have been cleared before the
 * unmap began: hence also what was seen of the MMU earlier.
 */
nv_inline nv_u32 nv_reason(struct nv_inflight *task, const struct nv_mmu *state,
			   const nv_u64 *ctx)
{
#if NV_HAS_REVMAP_FALLBACK
	return nv_inside(task, NV_REVMAP_FALLBACK, ctx) ? task->reason : NV_REASON_NONE;
#elif NV_OFFSET_MMU_BROKEN >= 0
	if (task->was_broken || (state && state->broken))
		return NV_REASON_BROKEN;
	return NV_REASON_UNKNOWN_IPA;
#else
	return NV_REASON_NONE;
#endif
}

/* Follow what the MMU maps. May race with faults on another CPU, by one. */
nv_inline void nv_forget(struct nv_mmu *state, int full, nv_u32 within, int broken)
{
	if (full) {
		state->owed = within == NV_WITHIN_NOTIFIER ? state->owed + state->mapped : 0;
		state->mapped = 0;
		state->broken = broken;
	} else if (within == NV_WITHIN_NOTIFIER && state->mapped > 0) {
		__sync_fetch_and_add(&state->mapped, -1);
		__sync_fetch_and_add(&state->owed, 1);
	}
}

int NV_SHADOW_UNMAP_EXIT(unsigned long long *ctx)
{
	const int typed = NV_SHADOW_UNMAP_TYPED;
	nv_u64 ns, kvm, mmu, id, start, size, *args;
	struct nv_inflight *task;
	struct nv_mmu *state;
	struct nv_row *row;
	int full, broken = 0;
	nv_u32 within, labels;

	task = nv_end(NV_SHADOW_UNMAP, &ns);
	if (!task)
		return 0;
	args = typed ? ctx : task->args[NV_SHADOW_UNMAP];
	mmu = nv_value(typed, args, NV_SHADOW_UNMAP_MMU_ARG, NV_SHADOW_UNMAP_MMU_AT);
	start = nv_value(typed, args, NV_SHADOW_UNMAP_START_ARG, NV_SHADOW_UNMAP_START_AT);
	size = nv_value(typed, args, NV_SHADOW_UNMAP_SIZE_ARG, NV_SHADOW_UNMAP_SIZE_AT);
	full = nv_full(typed, mmu, start, size);
	within = nv_within(task, ctx);
	kvm = NV_KVM_OF_MMU(typed, mmu);
	labels = NV_SHADOW_UNMAP << NV_POINT_SHIFT | within << NV_WITHIN_SHIFT |
		 NV_TRIGGER_LABEL(kvm, ctx);
#if NV_EVENTS
	if (NV_EMITS_END(NV_SHADOW_UNMAP, ns))
		nv_emit_unmap(NV_EVENT_UNMAP_END, args, within, labels, ns);
#endif
	id = NV_MMU_ID(typed, mmu);
	state = nv_mmu_state(&task->last.mmu, id, kvm, 0);
	if (full) {
		labels |= NV_UNMAP_FULL;
		if (within == NV_WITHIN_NOTIFIER)
			labels |= nv_reason(task, state, ctx) << NV_REASON_SHIFT;
	}
#if NV_OFFSET_MMU_BROKEN >= 0
	broken = nv_load8(typed, mmu, NV_OFFSET_MMU_BROKEN);
#endif
	if (state)
		nv_forget(state, full, within, broken);
	row = nv_count(&task->last, kvm, labels, ns);
	if (row && full)
		row->size_bytes = size;
	else if (row)
		__sync_fetch_and_add(&row->size_bytes, size);
	return 0;
}
