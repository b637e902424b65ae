/* SPDX-License-Identifier: GPL-2.0-only
 *
 * mmu_init: a stage-2 MMU was made, the canonical one first: a VM begins. For
 * traces only, where it says that nothing is mapped yet. The function may find
 * that the MMU is there already (a second KVM_ARM_VCPU_INIT), and leave it.
 */
#include "events.h"

int NV_MMU_INIT_ENTRY(unsigned long long *ctx)
{
	const int typed = NV_MMU_INIT_TYPED;
	nv_u64 mmu = nv_value(typed, ctx, NV_MMU_INIT_MMU_ARG, NV_MMU_INIT_MMU_AT);

	nv_begin(NV_MMU_INIT, typed, ctx, NV_MMU_ID(typed, mmu) != 0);
	return 0;
}

int NV_MMU_INIT_EXIT(unsigned long long *ctx)
{
	const int typed = NV_MMU_INIT_TYPED;
	struct nv_event event = {};
	struct nv_inflight *task;
	struct nv_key vm = {};
	nv_u64 mmu, ns, *args;

	task = nv_end(NV_MMU_INIT, &ns);
	if (!task || (int)ctx[NV_MMU_INIT_RETURN])
		return 0;
	args = typed ? ctx : task->args[NV_MMU_INIT];
	mmu = nv_value(typed, args, NV_MMU_INIT_MMU_ARG, NV_MMU_INIT_MMU_AT);
	vm.kvm = nv_value(typed, args, NV_MMU_INIT_KVM_ARG, NV_MMU_INIT_KVM_AT);
	/* Not set yet where the VM begins: it will be this task's. */
	vm.pid = nv_load32(typed, vm.kvm, NV_OFFSET_KVM_PID);
	if (!vm.pid)
		vm.pid = bpf_get_current_pid_tgid();
	if (mmu != vm.kvm + NV_OFFSET_KVM_ARCH + NV_OFFSET_ARCH_MMU)
		event.mmu = NV_MMU_ID(typed, mmu);
	nv_emit(NV_EVENT_MMU_INIT, &vm, &event);
	return 0;
}
