/* SPDX-License-Identifier: GPL-2.0-only
 *
 * notifier_unmap: the MMU notifier takes a canonical range from a VM.
 * Runs in whatever task reclaims, so the VM comes from the argument.
 */
#include "nvscope.h"

int NV_NOTIFIER_UNMAP_ENTRY(unsigned long long *ctx)
{
	nv_begin(NV_NOTIFIER_UNMAP, NV_NOTIFIER_UNMAP_TYPED, ctx, 0);
	return 0;
}

int NV_NOTIFIER_UNMAP_EXIT(unsigned long long *ctx)
{
	const int typed = NV_NOTIFIER_UNMAP_TYPED;
	struct nv_inflight *task;
	struct nv_key key = {};
	nv_u64 ns, kvm;

	task = nv_end(NV_NOTIFIER_UNMAP, &ns);
	if (!task)
		return 0;
	kvm = nv_value(typed, typed ? ctx : task->args[NV_NOTIFIER_UNMAP],
		       NV_NOTIFIER_UNMAP_KVM_ARG, NV_NOTIFIER_UNMAP_KVM_AT);
	key.kvm = kvm;
	key.pid = nv_load32(typed, kvm, NV_OFFSET_KVM_PID);
	key.labels = NV_NOTIFIER_UNMAP << NV_POINT_SHIFT;
	nv_count(&key, ns);
	return 0;
}
