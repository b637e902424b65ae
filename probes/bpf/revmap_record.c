/* SPDX-License-Identifier: GPL-2.0-only
 *
 * revmap_record: a shadow mapping is noted in the reverse map. What became of
 * it is the function's result, an enum whose names are looked up in BTF, or
 * whatever a points file says (NV_REVMAP_RECORD_CASED).
 */
#include "events.h"
#include "rows.h"

/* fexit still finds the arguments, and for the counts alone nobody asks how long it took. */
#define NV_RECORD_BEGINS (!NV_REVMAP_RECORD_TYPED || NV_TRACE || NV_PROBE)

/* NV_REVMAP_RECORD_SIZE_IS, of a points file: the value for the size is a range's end. */
#define NV_END_OF_CANONICAL 1
#define NV_END_OF_NESTED 2

#if NV_RECORD_BEGINS
int NV_REVMAP_RECORD_ENTRY(unsigned long long *ctx)
{
	nv_begin(NV_REVMAP_RECORD, NV_REVMAP_RECORD_TYPED, ctx, 0);
	return 0;
}
#endif

nv_inline nv_u32 nv_outcome(const nv_u64 *ctx, const nv_u64 *args)
{
#if NV_REVMAP_RECORD_CASED
	long long number = nv_value(NV_REVMAP_RECORD_TYPED, NV_REVMAP_RECORD_RETURNED ? ctx : args,
				    NV_REVMAP_RECORD_OUTCOME_ARG, NV_REVMAP_RECORD_OUTCOME_AT);

	NV_REVMAP_RECORD_CASES
#elif NV_KERNEL_RECORD_STORED >= 0
	int result = ctx[NV_REVMAP_RECORD_RETURN];

	if (result == NV_KERNEL_RECORD_STORED)
		return NV_OUTCOME_STORED;
	if (result == NV_KERNEL_RECORD_UNCHANGED)
		return NV_OUTCOME_UNCHANGED;
	if (result == NV_KERNEL_RECORD_OVERLAPPED)
		return NV_OUTCOME_OVERLAPPED;
	if (result == NV_KERNEL_RECORD_FAILED)
		return NV_OUTCOME_FAILED;
	if (result == NV_KERNEL_RECORD_SKIPPED)
		return NV_OUTCOME_SKIPPED;
#endif
	return NV_OUTCOME_UNKNOWN;
}

#if NV_EVENTS
nv_inline void nv_emit_record(struct nv_inflight *task, const nv_u64 *args, nv_u32 outcome,
			      nv_u64 mmu, nv_u64 kvm, nv_u32 labels, nv_u64 ns)
{
	struct nv_key vm = {};
	const int typed = NV_REVMAP_RECORD_TYPED;
	struct nv_event event = {
		.mmu = NV_MMU_ID(typed, mmu),
		.nested_ipa = nv_value(typed, args, NV_REVMAP_RECORD_NESTED_ARG,
				       NV_REVMAP_RECORD_NESTED_AT),
		.canonical_ipa = nv_value(typed, args, NV_REVMAP_RECORD_CANONICAL_ARG,
					  NV_REVMAP_RECORD_CANONICAL_AT),
		.size = nv_value(typed, args, NV_REVMAP_RECORD_SIZE_ARG,
				 NV_REVMAP_RECORD_SIZE_AT),
		.detail = outcome,
		.duration_ns = ns,
	};

#if NV_REVMAP_RECORD_SIZE_IS == NV_END_OF_CANONICAL
	event.size -= event.canonical_ipa;
#elif NV_REVMAP_RECORD_SIZE_IS == NV_END_OF_NESTED
	event.size -= event.nested_ipa;
#endif
#if NV_TRACE
	task->canonical_ipa = event.canonical_ipa;
#endif
	nv_key_of(&vm, kvm, labels);
	nv_emit(NV_EVENT_RECORD, &vm, &event);
}
#endif

int NV_REVMAP_RECORD_EXIT(unsigned long long *ctx)
{
	const int typed = NV_REVMAP_RECORD_TYPED;
	const nv_u64 *args = ctx;
	struct nv_inflight *task;
	nv_u32 outcome, labels;
	nv_u64 kvm, mmu, ns = 0;

#if NV_RECORD_BEGINS
	task = nv_end(NV_REVMAP_RECORD, &ns);
#else
	task = nv_task();
#endif
	if (!task)
		return 0;
	args = typed ? ctx : task->args[NV_REVMAP_RECORD];
	outcome = nv_outcome(ctx, args);
	labels = NV_REVMAP_RECORD << NV_POINT_SHIFT | outcome;
	mmu = nv_value(typed, args, NV_REVMAP_RECORD_MMU_ARG, NV_REVMAP_RECORD_MMU_AT);
	kvm = NV_KVM_OF_MMU(typed, mmu);
#if !NV_HAS_REVMAP_BROKEN && NV_OFFSET_MMU_BROKEN >= 0
	if (nv_load8(typed, mmu, NV_OFFSET_MMU_BROKEN)) {
		struct nv_mmu *state = nv_mmu_state(&task->last.mmu, NV_MMU_ID(typed, mmu), kvm, 1);

		if (state)
			state->broken = 1;
	}
#endif
#if NV_EVENTS
	if (NV_EMITS_END(NV_REVMAP_RECORD, ns))
		nv_emit_record(task, args, outcome, mmu, kvm, labels, ns);
#endif
	nv_count(&task->last, kvm, labels, NV_PROBE ? ns : 0);
	return 0;
}
