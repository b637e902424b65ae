/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Calls that are under way, by vCPU: for a point that comes often and that nothing is told by being
 * inside of. An array takes a third of what a task's storage does.
 *
 * One task at a time runs a vCPU, and is in one call of the point. The vCPU's place follows from its
 * address. The first that comes has it until its VM ends; others note their calls in the task's storage.
 */
#ifndef NV_VCPUS_H
#define NV_VCPUS_H

#include "calls.h"

#ifdef BPF_F_TABLE

/* Places go back with their VM, so its end has to be seen. */
#define NV_BY_VCPU \
	(NV_HAS_S2_FAULT && NV_S2_FAULT_TYPED && !NV_S2_FAULT_WHOLE && !NV_EVENTS && NV_HAS_VM_EXIT)

#if NV_BY_VCPU

#define NV_VCPU_LOW_BITS 12 /* of an address: they tell no two struct kvm_vcpu apart */

/* A whole cache line. */
struct nv_vcpu {
	nv_u32 mmu;      /* this and rows: as in struct nv_last, for the point alone */
	nv_u32 claims;
	nv_u64 vcpu;     /* struct kvm_vcpu *; 0: the place is nobody's */
	nv_u64 start_ns; /* 0: not in a call */
	nv_u32 rows[NV_LAST_LABELS];
	nv_u64 kvm; /* struct kvm * of the vCPU */
};

#define NV_PLACE_BITS 6 /* of its size */

_Static_assert(sizeof(struct nv_vcpu) == 1 << NV_PLACE_BITS, "");

/* At an offset. All places are the one value of a map that the loader makes: the kernel puts the value's
 * address into the program (BPF_PSEUDO_MAP_VALUE), where a lookup takes a dozen instructions.
 */
nv_inline struct nv_vcpu *nv_place_at(nv_u64 offset)
{
	return (struct nv_vcpu *)(bpf_pseudo_fd(2, NV_VCPUS_FD) + offset);
}

/* The place of a vCPU, whoever has it. */
nv_inline struct nv_vcpu *nv_place(nv_u64 vcpu)
{
	/* The verifier lets nobody shift a pointer. This turns it into a number, and is no instruction. */
	asm volatile("%0 = le64 %0" : "+r"(vcpu));
	return nv_place_at(vcpu >> (NV_VCPU_LOW_BITS - NV_PLACE_BITS) &
			   (NV_VCPUS_BYTES - (1 << NV_PLACE_BITS)));
}

/* Have a place that is nobody's. Of all who try at once one may succeed: who finds no other's claim. */
nv_inline int nv_claim(struct nv_vcpu *at, nv_u64 vcpu)
{
	if (at->vcpu)
		return 0;
	__sync_fetch_and_add(&at->claims, 1);
	if (*(volatile nv_u32 *)&at->claims != 1) {
		__sync_fetch_and_add(&at->claims, -1);
		return 0;
	}
	at->kvm = nv_load64(1, vcpu, NV_OFFSET_VCPU_KVM);
	at->start_ns = 0;
	at->vcpu = vcpu;
	return 1;
}

/* Give back the places of a VM's vCPUs, which run no more. */
nv_inline void nv_drop_vcpus(nv_u64 kvm)
{
	int offset;

	for (offset = 0; offset < NV_VCPUS_BYTES; offset += sizeof(struct nv_vcpu)) {
		nv_u64 here = offset;
		struct nv_vcpu *at;

		/* Else the compiler counts by pointers, whose bounds no verifier follows. */
		asm volatile("" : "+r"(here));
		at = nv_place_at(here & (NV_VCPUS_BYTES - (1 << NV_PLACE_BITS)));
		if (at->kvm != kvm)
			continue;
		at->kvm = 0;
		at->vcpu = 0;
		__sync_fetch_and_add(&at->claims, -1);
	}
}

/* A vCPU enters a call. */
nv_inline void nv_begin_by_vcpu(int point, nv_u64 vcpu, const nv_u64 *ctx)
{
	struct nv_vcpu *at = nv_place(vcpu);

	if (at->vcpu != vcpu && !nv_claim(at, vcpu)) {
		nv_begin(point, 1, ctx, 0);
		return;
	}
	if (at->start_ns)
		nv_stale(point, at->start_ns);
	at->start_ns = bpf_ktime_get_ns();
}

/* And leaves it: its place, with what was counted on last, or NULL when there is nothing to count. On
 * return *ns is the call's duration. vcpu: is read after the clock.
 */
nv_inline struct nv_vcpu *nv_end_by_vcpu(int point, nv_u64 now_ns, nv_u64 vcpu, nv_u64 *ns)
{
	struct nv_vcpu *at = nv_place(vcpu);
	nv_u64 start_ns;

	if (at->vcpu != vcpu)
		return nv_end_at(point, now_ns, ns) ? at : 0;
	start_ns = at->start_ns;
	if (!start_ns) {
		nv_miss(point, NV_EDGE_ENTRY);
		return 0;
	}
	at->start_ns = 0;
	*ns = now_ns - start_ns;
	/* Now: the compiler would keep both. */
	asm volatile("" : "+r"(*ns));
	return at;
}

#endif /* NV_BY_VCPU */
#endif /* BPF_F_TABLE */
#endif /* NV_VCPUS_H */
