/* SPDX-License-Identifier: GPL-2.0-only
 *
 * vm_exit: a VM is destroyed. Its rows go, before another VM of the same
 * process gets the same struct kvm.
 */
#include "nvscope.h"

int NV_VM_EXIT_ENTRY(unsigned long long *ctx)
{
	const int typed = NV_VM_EXIT_TYPED;
	struct nv_key key = {};
	int point, bits;

	key.kvm = nv_value(typed, ctx, NV_VM_EXIT_KVM_ARG, NV_VM_EXIT_KVM_AT);
	key.pid = nv_load32(typed, key.kvm, NV_OFFSET_KVM_PID);
#if NV_TRACE
	struct nv_event event = {};

	nv_emit(NV_EVENT_VM_EXIT, &key, &event);
#endif
	for (point = 0; point < NV_POINTS; point++) {
		for (bits = 0; bits < NV_LABEL_BITS; bits++) {
			key.labels = point << NV_POINT_SHIFT | bits;
			rows.delete(&key);
			spare.delete(&key);
		}
	}
	return 0;
}
