/* SPDX-License-Identifier: GPL-2.0-only
 *
 * s2_fault: a stage-2 fault is resolved by mapping a page, into the canonical
 * stage 2 or into a shadow one. The kernel turns -EAGAIN (lost a race; the guest
 * retries) into 0: a retry is a call like any other.
 *
 * Where the compiler has inlined the function that does just that, it is the
 * one that handles all aborts of a guest (NV_S2_FAULT_WHOLE): MMIO and what is
 * given back to L1 as well. A call counts there if something was mapped in it.
 */
#include "events.h"
#include "rows.h"
#include "vcpus.h"

/* HPFAR_EL2.FIPA, bits 47:4, is IPA[55:12] (Arm ARM D24.2, HPFAR_EL2; FEAT_D128's width). */
#define NV_HPFAR_FIPA 0x0000fffffffffff0ULL
#define NV_FIPA_SHIFT 8

/* Of a canonical fault that was resolved. */
#define NV_FAULT_LABELS (NV_S2_FAULT << NV_POINT_SHIFT)

nv_inline nv_u64 nv_fault_vcpu(const nv_u64 *args)
{
	return nv_value(NV_S2_FAULT_TYPED, args, NV_S2_FAULT_VCPU_ARG, NV_S2_FAULT_VCPU_AT);
}

/* The MMU in use. Not by whether there is a guest translation ("nested"): L1 may run with a shadow
 * MMU and its own stage 2 off.
 */
nv_inline nv_u64 nv_fault_mmu(const nv_u64 *args, nv_u64 vcpu)
{
#if NV_S2_FAULT_MMU_ARG >= 0
	return nv_value(NV_S2_FAULT_TYPED, args, NV_S2_FAULT_MMU_ARG, NV_S2_FAULT_MMU_AT);
#else
	return nv_load64(NV_S2_FAULT_TYPED, vcpu, NV_OFFSET_VCPU_MMU);
#endif
}

#if NV_EVENTS
nv_inline nv_u64 nv_fault_ipa(const nv_u64 *args)
{
#if NV_S2_FAULT_WHOLE
	nv_u64 hpfar = nv_load64(NV_S2_FAULT_TYPED, nv_fault_vcpu(args), NV_OFFSET_VCPU_HPFAR);

	return (hpfar & NV_HPFAR_FIPA) << NV_FIPA_SHIFT;
#else
	return nv_value(NV_S2_FAULT_TYPED, args, NV_S2_FAULT_FAULT_IPA_ARG,
			NV_S2_FAULT_FAULT_IPA_AT);
#endif
}

/* Where L1's stage 2 leads, as far as the arguments tell; without one a nested IPA is a canonical
 * one. In NV_S2_FAULT_WHOLE s2_walk tells it later.
 */
nv_inline nv_u64 nv_fault_canonical(const nv_u64 *args)
{
#if !NV_S2_FAULT_WHOLE
	const int typed = NV_S2_FAULT_TYPED;
	nv_u64 nested = nv_value(typed, args, NV_S2_FAULT_NESTED_ARG, NV_S2_FAULT_NESTED_AT);

	if (nested)
		return nv_load64(typed, nested, NV_OFFSET_TRANS_OUTPUT);
#endif
	return nv_fault_ipa(args);
}
#endif

int NV_S2_FAULT_ENTRY(unsigned long long *ctx)
{
#if NV_BY_VCPU
	nv_begin_by_vcpu(NV_S2_FAULT, nv_fault_vcpu(ctx), ctx);
#else
	struct nv_inflight *task;
#if NV_EVENTS
	nv_u64 canonical_ipa = nv_fault_canonical(ctx);
#endif

	task = nv_begin(NV_S2_FAULT, NV_S2_FAULT_TYPED, ctx, 0);
	if (!task)
		return 0;
#if NV_S2_FAULT_WHOLE
	task->mapped = 0;
#endif
#if NV_EVENTS
	task->canonical_ipa = canonical_ipa;
#endif
#endif
	return 0;
}

/* Whether a shadow fault brings back what a notifier unmap took. */
nv_inline int nv_refault(nv_u32 *probably, nv_u64 mmu, nv_u64 kvm)
{
	struct nv_mmu *state = nv_mmu_state(probably, NV_MMU_ID(NV_S2_FAULT_TYPED, mmu), kvm, 1);
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
nv_inline void nv_emit_fault(nv_u64 canonical_ipa, const nv_u64 *args, nv_u64 mmu, int result,
			     nv_u64 kvm, nv_u32 labels, nv_u64 ns)
{
	struct nv_key vm = {};
	struct nv_event event = {
		.nested_ipa = mmu ? nv_fault_ipa(args) : 0,
		.canonical_ipa = canonical_ipa,
		.result = result,
		.duration_ns = ns,
	};

	if (mmu)
		event.mmu = NV_MMU_ID(NV_S2_FAULT_TYPED, mmu);
	nv_key_of(&vm, kvm, labels);
	nv_emit(NV_EVENT_FAULT, &vm, &event);
}
#endif

/* As user_mem_abort() returns it: >= 0 or an error. The function around it says 1 where a fault was
 * handled, and 0 where user space has to see to it.
 */
nv_inline int nv_fault_result(const nv_u64 *ctx)
{
	int result = ctx[NV_S2_FAULT_RETURN];

	return NV_S2_FAULT_WHOLE && result > 0 ? 0 : result;
}

/* By the result's sign. */
nv_inline int nv_fault_error(const nv_u64 *ctx)
{
	nv_u64 result = ctx[NV_S2_FAULT_RETURN] << 32;

	asm volatile("" : "+r"(result));
	return (long long)result < 0;
}

int NV_S2_FAULT_EXIT(unsigned long long *ctx)
{
	const int typed = NV_S2_FAULT_TYPED;
	nv_u64 labels = NV_FAULT_LABELS;
	nv_u32 *last_rows, *last_mmu;
	nv_u64 ns, vcpu, kvm, mmu, now_ns = bpf_ktime_get_ns();
	const nv_u64 *args = ctx;
#if NV_BY_VCPU
	struct nv_vcpu *at;

	vcpu = nv_fault_vcpu(ctx);
	at = nv_end_by_vcpu(NV_S2_FAULT, now_ns, vcpu, &ns);
	if (!at)
		return 0;
	last_rows = at->rows;
	last_mmu = &at->mmu;
#else
	struct nv_inflight *task = nv_end_at(NV_S2_FAULT, now_ns, &ns);
#if NV_EVENTS
	nv_u64 canonical_ipa;
#endif

	if (!task)
		return 0;
	last_rows = nv_last_row(&task->last, labels);
	last_mmu = &task->last.mmu;
	if (!typed)
		args = task->args[NV_S2_FAULT];
	vcpu = nv_fault_vcpu(args);
#endif
#if NV_EVENTS
	canonical_ipa = task->canonical_ipa;
	task->canonical_ipa = NV_NO_IPA;
#endif
#if NV_S2_FAULT_WHOLE
	if (!task->mapped)
		return 0;
#endif
	if (nv_fault_error(ctx))
		labels |= NV_FAULT_ERROR;
	kvm = nv_load64(typed, vcpu, NV_OFFSET_VCPU_KVM);
	mmu = nv_fault_mmu(args, vcpu);
	if (mmu == kvm + NV_OFFSET_KVM_ARCH + NV_OFFSET_ARCH_MMU)
		mmu = 0;
	if (mmu) {
		labels |= NV_FAULT_SHADOW;
		/* The compiler would keep both. */
		asm volatile("" : "+r"(labels));
		if (labels == (NV_FAULT_LABELS | NV_FAULT_SHADOW) &&
		    nv_refault(last_mmu, mmu, kvm))
			labels |= NV_FAULT_REFAULT;
	}
#if NV_EVENTS
	if (NV_EMITS_END(NV_S2_FAULT, ns))
		nv_emit_fault(canonical_ipa, args, mmu, nv_fault_result(ctx), kvm, labels, ns);
#endif
	nv_count_at(last_rows + labels - NV_FAULT_LABELS, kvm, labels, ns);
	return 0;
}
