// SPDX-License-Identifier: GPL-2.0-only
// The synthetic hypervisor: runs at virtual EL2 (VHE) with its stage-1 MMU off, on one page,
// without a stack. It takes orders from a mailbox and runs L2 under the stage 2 that the order
// names, or in L1's own EL1 with stage 2 off. All upper-case names come from protocol.py.
//
// Registers of an access, the same in L1 and L2: x0 address, x1 count, x2 stride, x3 first value,
// x4 write. It leaves x5 the last value, x6 the sum of values, x7 how many accesses were done.

	.arch	armv8.4-a
	.text

	// Reads or writes x1 words from x0 on, x2 bytes apart; writes x3, x3 + 1, ...
	.macro	access
	cbz	x1, .Ldone\@
.Lnext\@:
	cbz	x4, .Lread\@
	str	x3, [x0]
	mov	x5, x3
	add	x3, x3, #1
	b	.Laccessed\@
.Lread\@:
	ldr	x5, [x0]
.Laccessed\@:
	add	x6, x6, x5
	add	x7, x7, #1
	add	x0, x0, x2
	subs	x1, x1, #1
	b.ne	.Lnext\@
.Ldone\@:
	.endm

start:
	mov	x19, #MAILBOX_IPA
	adr	x8, vectors
	msr	vbar_el2, x8
	ldr	x20, =HCR_L1
	ldr	x21, =HCR_L2
	ldr	x22, =HCR_EL1
	msr	hcr_el2, x20
	isb

next_order:
	ldr	x9, [x19, #ORDER]
	ldr	x0, [x19, #ARG0]
	ldr	x1, [x19, #ARG1]
	ldr	x2, [x19, #ARG2]
	ldr	x3, [x19, #ARG3]
	ldr	x4, [x19, #ARG4]
	mov	x5, #0
	mov	x6, #0
	mov	x7, #0
	cmp	x9, #ORDER_L1_ACCESS
	b.eq	l1_access
	cmp	x9, #ORDER_L2_ACCESS
	b.eq	l2_access
	cmp	x9, #ORDER_EL1_ACCESS
	b.eq	el1_access
	cmp	x9, #ORDER_CONTEXT
	b.eq	set_context
	cmp	x9, #ORDER_TLBI_VMALLS12E1IS
	b.eq	tlbi_vmalls12
	cmp	x9, #ORDER_TLBI_IPAS2E1IS
	b.eq	tlbi_ipas2
	cmp	x9, #ORDER_TLBI_ALLE1IS
	b.eq	tlbi_all
	mov	x14, #STATUS_UNKNOWN_ORDER
	b	report

l1_access:
	access
	dsb	sy
	b	ok

l2_access:
	msr	hcr_el2, x21
	ldr	x8, =(L2_CODE_NESTED_IPA + L2_ENTRY_OFFSET)
	b	enter_el1
el1_access:
	msr	hcr_el2, x22
	ldr	x8, =(RAM_IPA + L2_ENTRY_OFFSET)
enter_el1:
	msr	elr_el2, x8
	mov	x8, #SPSR_L2
	msr	spsr_el2, x8
	isb
	eret

set_context:
	msr	vttbr_el2, x0
	msr	vtcr_el2, x1
	isb
	b	ok

tlbi_vmalls12:
	dsb	ishst
	tlbi	vmalls12e1is
	b	tlbi_done
tlbi_ipas2:
	dsb	ishst
	tlbi	ipas2e1is, x0
	b	tlbi_done
tlbi_all:
	dsb	ishst
	tlbi	alle1is
tlbi_done:
	dsb	ish
	isb
	b	ok

	// An exception from L2 or L1's own EL1: hvc is the good end, all else is reported.
l2_back:
	msr	hcr_el2, x20
	isb
	mrs	x10, esr_el2
	mrs	x11, hpfar_el2
	mrs	x12, far_el2
	ubfx	x13, x10, #26, #6
	cmp	x13, #EC_HVC64
	b.eq	ok
	mov	x14, #STATUS_L2_ABORT
	b	report

l1_exception:
	mrs	x10, esr_el2
	mrs	x11, hpfar_el2
	mrs	x12, elr_el2
	mov	x14, #STATUS_L1_EXCEPTION
	b	report

ok:
	mov	x14, #STATUS_OK
report:
	str	x5, [x19, #VALUE]
	str	x6, [x19, #SUM]
	str	x7, [x19, #DONE]
	cbz	x14, 1f
	str	x10, [x19, #ESR]
	str	x11, [x19, #HPFAR]
	str	x12, [x19, #FAR]
1:	str	x14, [x19, #STATUS]
	b	next_order

	.ltorg

	// L2: its EL1 MMU is off too, so that addresses are nested IPAs; in L1's own EL1 they are
	// canonical ones.
	.org	L2_ENTRY_OFFSET
	access
	dsb	sy
	// KVM's vectors (hyp-entry.S, el1_hvc_guest) answer an hvc by themselves when x0, here the
	// address after the last, happens to be ARM_SMCCC_ARCH_WORKAROUND_1 (0x80008000) or the like.
	mov	x0, #0
	hvc	#0
	b	.

	.macro	vector target
	.balign	0x80
	b	\target
	.endm

	// Arm ARM D1.3.1.5: current EL with SP_EL0, current EL with SP_ELx, lower EL AArch64, lower
	// EL AArch32; each: synchronous, IRQ, FIQ, SError.
	.org	VECTORS_OFFSET
vectors:
	.rept	8
	vector	l1_exception
	.endr
	.rept	4
	vector	l2_back
	.endr
	.rept	4
	vector	l1_exception
	.endr
	.org	PAYLOAD_BYTES
