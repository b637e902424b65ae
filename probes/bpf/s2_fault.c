/* SPDX-License-Identifier: GPL-2.0-only
 *
 * s2_fault: a stage-2 fault is resolved by mapping a page, into the canonical
 * stage 2 or, with a guest translation at hand ("nested"), into a shadow one.
 * The kernel turns -EAGAIN (lost a race; the guest retries) into 0: a retry is
 * a call like any other.
 */
#include "nvscope.h"

#if NV_EVENTS
nv_inline nv_u64 nv_fault_ipa(const nv_u64 *args)
{
	return nv_value(NV_S2_FAULT_TYPED, args, NV_S2_FAULT_FAULT_IPA_ARG,
			NV_S2_FAULT_FAULT_IPA_AT);
}

/* Where L1's stage 2 leads; without one ("nested" is NULL) a nested IPA is a canonical one. */
nv_inline nv_u64 nv_fault_canonical(const nv_u64 *args)
{
	const int typed = NV_S2_FAULT_TYPED;
	nv_u64 nested = nv_value(typed, args, NV_S2_FAULT_NESTED_ARG, NV_S2_FAULT_NESTED_AT);

	return nested ? nv_load64(typed, nested, NV_OFFSET_TRANS_OUTPUT) : nv_fault_ipa(args);
}
#endif

int NV_S2_FAULT_ENTRY(unsigned long long *ctx)
{
#if NV_TRACE
	struct nv_inflight *task = nv_task();

	if (task)
		task->canonical_ipa = nv_fault_canonical(ctx);
#endif
	nv_begin(NV_S2_FAULT, NV_S2_FAULT_TYPED, ctx, 0);
	return 0;
}

/* Whether a shadow fault brings back what a notifier unmap took. */
nv_inline int nv_refault(nv_u64 mmu, const struct nv_key *vm)
{
	struct nv_mmu *state = nv_mmu_state(mmu, vm);
	int owed;

	if (!state)
		return 0;
	owed = state->owed > 0;
	if (owed)
		__sync_fetch_and_add(&state->owed, -1);
	__sync_fetch_and_add(&state->mapped, 1);
	return owed;
}

#if NV_EVENTS
nv_inline void nv_emit_fault(struct nv_inflight *task, const nv_u64 *args, nv_u64 mmu,
			     const struct nv_key *vm, int result, nv_u64 ns)
{
	nv_u64 ipa = nv_fault_ipa(args);
	struct nv_event event = {
		.mmu = mmu,
		.nested_ipa = mmu ? ipa : 0,
		.canonical_ipa = mmu ? nv_fault_canonical(args) : ipa,
		.result = result,
		.duration_ns = ns,
	};

#if NV_TRACE
	task->canonical_ipa = NV_NO_IPA;
#endif
	nv_emit(NV_EVENT_FAULT, vm, &event);
}
#endif

int NV_S2_FAULT_EXIT(unsigned long long *ctx)
{
	const int typed = NV_S2_FAULT_TYPED;
	struct nv_inflight *task;
	struct nv_key key = {};
	nv_u64 ns, vcpu, kvm, mmu = 0, *args;

	task = nv_end(NV_S2_FAULT, &ns);
	if (!task)
		return 0;
	args = typed ? ctx : task->args[NV_S2_FAULT];
	vcpu = nv_value(typed, args, NV_S2_FAULT_VCPU_ARG, NV_S2_FAULT_VCPU_AT);
	kvm = nv_load64(typed, vcpu, NV_OFFSET_VCPU_KVM);
	key.kvm = kvm;
	key.pid = nv_load32(typed, kvm, NV_OFFSET_KVM_PID);
	key.labels = NV_S2_FAULT << NV_POINT_SHIFT;
	if ((int)ctx[NV_S2_FAULT_RETURN] < 0)
		key.labels |= NV_FAULT_ERROR;
	if (nv_value(typed, args, NV_S2_FAULT_NESTED_ARG, NV_S2_FAULT_NESTED_AT)) {
		key.labels |= NV_FAULT_SHADOW;
		mmu = nv_load64(typed, vcpu, NV_OFFSET_VCPU_MMU);
		if (!(key.labels & NV_FAULT_ERROR) && nv_refault(mmu, &key))
			key.labels |= NV_FAULT_REFAULT;
	}
#if NV_EVENTS
	if (NV_EMITS_END(NV_S2_FAULT, ns))
		nv_emit_fault(task, args, mmu, &key, (int)ctx[NV_S2_FAULT_RETURN], ns);
#endif
	nv_count(&key, ns);
	return 0;
}
