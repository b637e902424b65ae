/* SPDX-License-Identifier: GPL-2.0-only
 *
 * vm_exit: a VM is destroyed. Its rows go, before another VM of the same
 * process gets the same struct kvm.
 */
#include "events.h"
#include "rows.h"
#include "vcpus.h"

/* All rows of a point whose labels have so many bits. */
nv_inline void nv_drop_rows(struct nv_heads *at, struct nv_key *key, nv_u32 stripe, int point,
			    int bits)
{
	int labels;

	for (labels = 0; labels < 1 << bits; labels++) {
		key->labels = stripe << NV_STRIPE_SHIFT | point << NV_POINT_SHIFT | labels;
		nv_drop_row(at, key);
	}
}

int NV_VM_EXIT_ENTRY(unsigned long long *ctx)
{
	const int typed = NV_VM_EXIT_TYPED;
	struct nv_heads *at = nv_heads();
	struct nv_key key = {};
	nv_u32 stripe;

	key.kvm = nv_value(typed, ctx, NV_VM_EXIT_KVM_ARG, NV_VM_EXIT_KVM_AT);
	key.pid = nv_load32(typed, key.kvm, NV_OFFSET_KVM_PID);
#if NV_TRACE
	struct nv_event event = {};

	nv_emit(NV_EVENT_VM_EXIT, &key, &event);
#endif
	for (stripe = 0; at && stripe <= NV_ALL_CPUS; stripe++) {
		nv_drop_rows(at, &key, stripe, NV_NOTIFIER_UNMAP, 0);
		nv_drop_rows(at, &key, stripe, NV_S2_FAULT, NV_FAULT_BITS);
		nv_drop_rows(at, &key, stripe, NV_SHADOW_UNMAP, NV_UNMAP_BITS);
		nv_drop_rows(at, &key, stripe, NV_REVMAP_RECORD, NV_RECORD_BITS);
	}
#if NV_BY_VCPU
	nv_drop_vcpus(key.kvm);
#endif
	return 0;
}
