/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What all probe programs share: the layout that user space reads, and the
 * start-to-end bookkeeping of one call.
 *
 * The first half is plain C (decode.py mirrors it, a unit test compiles it).
 * The second half needs bcc. bcc rewrites map calls in the main source only,
 * never in what is included: programs.py puts this header's text first, and
 * the #include in each program file then finds it already there.
 */
#ifndef NVSCOPE_H
#define NVSCOPE_H

/* ---- layout: keys and values of the maps ---- */

typedef unsigned long long nv_u64;
typedef unsigned int nv_u32;

#define NV_SLOTS 40 /* log2 slots of nanoseconds: see snapshot.py */
#define NV_ARGS 4   /* the most arguments that a program needs at exit */

enum nv_point {
	NV_NOTIFIER_UNMAP,
	NV_S2_FAULT,
	NV_SHADOW_UNMAP,
	NV_TLBI_VMID,
	NV_TLBI_ALL,
	NV_MMU_RECYCLE,
	NV_MMU_FREE,
	NV_VM_EXIT,
	NV_REVMAP_RECORD,
	NV_REVMAP_BROKEN,
	NV_REVMAP_FALLBACK,
	NV_MMU_INIT,
	NV_SHADOW_MAP,
	NV_NUMA_SCAN,
	NV_S2_MAP,
	NV_S2_RELAX,
	NV_S2_WALK,
	NV_POINTS,
};

/* nv_key.labels: the point above NV_POINT_SHIFT, its own bits below; in the index of rows, the stripe
 * of CPUs above NV_STRIPE_SHIFT, NV_ALL_CPUS for a row of all of them.
 */
#define NV_POINT_SHIFT 8
#define NV_TRIGGER_SHIFT 16 /* one-shot probes: enum nv_trigger */
#define NV_STRIPE_SHIFT 24
#define NV_ALL_CPUS 4        /* the most stripes that there are */
#define NV_LABEL_BITS 64     /* the bits of all points are below */
#define NV_FAULT_BITS 3      /* how many a point has */
#define NV_UNMAP_BITS 6
#define NV_RECORD_BITS 3
#define NV_FAULT_SHADOW 1    /* s2_fault: of a shadow stage 2 */
#define NV_FAULT_ERROR 2     /* s2_fault: returned an error */
#define NV_FAULT_REFAULT 4   /* s2_fault: see struct nv_mmu */
#define NV_UNMAP_FULL 1      /* shadow_unmap: the whole MMU */
#define NV_WITHIN_SHIFT 1    /* shadow_unmap: enum nv_within */
#define NV_REASON_SHIFT 3    /* shadow_unmap, full ones in a notifier unmap: enum nv_reason */

/* What a shadow unmap ran within. */
enum nv_within {
	NV_WITHIN_OTHER,
	NV_WITHIN_NOTIFIER,
	NV_WITHIN_TLBI,
	NV_WITHIN_RECYCLING,
	NV_WITHINS,
};

/* Why a notifier unmap fell back to a full one; NONE: it was no fallback. */
enum nv_reason {
	NV_REASON_NONE,
	NV_REASON_BROKEN,
	NV_REASON_UNKNOWN_IPA,
	NV_REASON_RACED,
	NV_REASON_UNKNOWN,
	NV_REASONS,
};

/* revmap_record: what became of it; its label bits. */
enum nv_outcome {
	NV_OUTCOME_UNKNOWN,
	NV_OUTCOME_STORED,
	NV_OUTCOME_UNCHANGED,
	NV_OUTCOME_OVERLAPPED,
	NV_OUTCOME_FAILED,
	NV_OUTCOME_SKIPPED,
	NV_OUTCOMES,
};

/* One-shot probes: who caused a call; NONE: that was not asked. */
enum nv_trigger {
	NV_TRIGGER_NONE,
	NV_TRIGGER_VMM, /* the VM's own process */
	NV_TRIGGER_RECLAIM,
	NV_TRIGGER_THP,
	NV_TRIGGER_KSM,
	NV_TRIGGER_COMPACTION,
	NV_TRIGGER_NUMA,
	NV_TRIGGER_OTHER,
	NV_TRIGGERS,
};

/* Why an event is not in the rows: the index into the map "lost". The two missed ones are counted
 * by point, in the map "missed".
 */
enum nv_loss {
	NV_LOST_START_FULL,   /* no memory to note a call's start */
	NV_LOST_VM_FULL,      /* no room for another VM's row */
	NV_LOST_MISSED_EXIT,  /* a call began, and its end was not seen */
	NV_LOST_MISSED_ENTRY, /* a call ended, and its begin was not seen */
	NV_LOST_MMU_FULL,     /* no room for another shadow MMU's state */
	NV_LOST_RING_FULL,    /* traces, slow calls: the reader was too slow */
	NV_LOST_NO_CANONICAL, /* traces: what a shadow mapping leads to was not seen */
	NV_LOSSES,
};

/* The index into the map "missed": 2 * point + edge. */
enum nv_edge {
	NV_EDGE_ENTRY,
	NV_EDGE_EXIT,
	NV_EDGES,
};

struct nv_key {
	nv_u64 kvm; /* struct kvm * */
	nv_u32 pid; /* kvm->userspace_pid */
	nv_u32 labels;
};

/* Calls of one kind, of one VM, on the CPUs of one stripe (see rows.h). Whole cache lines, as those
 * of other CPUs lie beside it.
 */
struct nv_row {
	nv_u64 kvm; /* 0 while the row is nobody's */
	nv_u64 who; /* nv_key.labels << 32 | nv_key.pid */
	nv_u64 size_bytes; /* shadow unmaps: ranged, sum of the sizes asked for; full, that of one */
	nv_u64 sum_ns;
	nv_u64 slots[NV_SLOTS];
	nv_u64 unused[4];
};

/* What is known of a shadow MMU, by its struct kvm_pgtable *: that is the MMU's
 * own from its begin to its end, while the struct kvm_s2_mmu lies in an array
 * which Linux 6.16 to 7.1 move when a vCPU is initialised. A whole cache line.
 *
 * owed: mappings that notifier unmaps took and that have not come back. A full
 * unmap takes all that is mapped, a ranged one one mapping. As long as it is
 * positive a shadow fault is a refault. Racing vCPUs may each take the last
 * one: it is then negative until the next unmap.
 */
struct nv_mmu {
	nv_u64 id;  /* struct kvm_pgtable *; 0: nobody's */
	nv_u64 kvm; /* struct kvm * */
	nv_u32 pid; /* kvm->userspace_pid */
	nv_u32 broken;
	long long mapped; /* shadow faults since it was emptied */
	long long owed;
	nv_u64 unused[3];
};

/* The rows of stripes come first in their array, then as many for all CPUs; each of these shares, and
 * the array of shadow MMUs, is given out in ranges. ends: how much of a range has been, of all ranges
 * one after another. freed: how often something was given back: who reads an array and finds the same
 * number before and after has read nothing that another got meanwhile.
 */
enum nv_pool {
	NV_STRIPED,
	NV_SHARED,
	NV_SHADOW,
	NV_POOLS,
};

#define NV_RANGES 256 /* so many CPUs can take from a pool at once */

struct nv_heads {
	nv_u32 ends[NV_POOLS * NV_RANGES];
	nv_u64 freed;
};

/* What can be had: an element of a pool's stack. */
struct nv_range {
	nv_u32 first;
	nv_u32 count;
};

/* Of a row of a trace: events.py tells what each means. */
enum nv_event_kind {
	NV_EVENT_LOSS, /* never from here: the recorder's own */
	NV_EVENT_MMU_INIT,
	NV_EVENT_MMU_FREE,
	NV_EVENT_MMU_RECYCLE,
	NV_EVENT_VM_EXIT,
	NV_EVENT_NOTIFIER_BEGIN,
	NV_EVENT_NOTIFIER_END,
	NV_EVENT_RECORD,
	NV_EVENT_BROKEN,
	NV_EVENT_FALLBACK,
	NV_EVENT_MAP,
	NV_EVENT_UNMAP_BEGIN,
	NV_EVENT_UNMAP_END,
	NV_EVENT_FAULT,
	NV_EVENT_KINDS,
};

#define NV_COMM 16 /* TASK_COMM_LEN */
#define NV_NO_IPA (~0ULL)

struct nv_event {
	nv_u64 time_ns;
	nv_u64 kvm;
	nv_u64 mmu;
	nv_u64 canonical_ipa;
	nv_u64 nested_ipa;
	nv_u64 size;
	nv_u64 duration_ns;
	nv_u32 pid;
	nv_u32 tid;
	int result;
	nv_u32 cpu;
	unsigned char kind;
	unsigned char detail; /* enum nv_within, nv_reason or nv_outcome, by the kind */
	unsigned char full;
	unsigned char may_block;
	char comm[NV_COMM];
	nv_u32 count; /* NV_EVENT_LOSS only */
};

/* What the kernel tells of one of our programs: a record of the pin "stats". */
struct nv_stats {
	nv_u64 runs;
	nv_u64 time_ns;
	nv_u64 misses; /* not run, for it was running already on that CPU */
	nv_u32 id;
	nv_u32 unused;
};

#define NV_STACK_DEPTH 48

/* A call that took longer than a one-shot probe allows. */
struct nv_slow {
	struct nv_event event;
	nv_u32 trigger;
	int stack_bytes; /* of what follows, or -errno */
	nv_u64 stack[NV_STACK_DEPTH]; /* kernel addresses, innermost first */
};

#ifdef BPF_F_TABLE

/* ---- programs: compiled by bcc ---- */

/* Events go to user space: all of them in a trace, slow calls from a one-shot probe. */
#define NV_SLOW (NV_THRESHOLD_NS > 0)
#define NV_EVENTS (NV_TRACE || NV_SLOW)

/* Arrays that can be mapped are read without a system call. */
BPF_F_TABLE("array", int, nv_u64, lost, NV_LOSSES, BPF_F_MMAPABLE);
BPF_F_TABLE("array", int, nv_u64, missed, NV_EDGES * NV_POINTS, BPF_F_MMAPABLE);
#if NV_EVENTS
BPF_RINGBUF_OUTPUT(events, NV_RING_PAGES);
#endif
/* When all was attached, on the programs' clock: calls before are not ours to miss. */
BPF_ARRAY(armed, nv_u64, 1);

#define nv_inline static inline __attribute__((always_inline))

/* `typed`: the program is fentry/fexit, where the verifier knows the type of a
 * pointer argument and of what is loaded through it: a plain load will do.
 */
nv_inline nv_u64 nv_load64(int typed, nv_u64 base, int offset)
{
	nv_u64 value = 0;

	if (typed)
		return *(nv_u64 *)(base + offset);
	bpf_probe_read_kernel(&value, sizeof(value), (void *)(base + offset));
	return value;
}

nv_inline nv_u32 nv_load32(int typed, nv_u64 base, int offset)
{
	nv_u32 value = 0;

	if (typed)
		return *(nv_u32 *)(base + offset);
	bpf_probe_read_kernel(&value, sizeof(value), (void *)(base + offset));
	return value;
}

nv_inline nv_u32 nv_load8(int typed, nv_u64 base, int offset)
{
	unsigned char value = 0;

	if (typed)
		return *(unsigned char *)(base + offset);
	bpf_probe_read_kernel(&value, sizeof(value), (void *)(base + offset));
	return value;
}

/* How a value is read; reach.py mirrors it. Beside the slot of an argument: it is a number, of a width
 * and perhaps signed (else 8 bytes as they are, a pointer mostly); where a member lies, not what is in
 * it; a constant; the last one of a range, whose end comes one later; in pages, or an order of pages.
 */
#define NV_HOW_SLOT 0xff
#define NV_HOW_NUMBER (1 << 8)
#define NV_HOW_SIGNED (1 << 9)
#define NV_HOW_ADDRESS (1 << 10)
#define NV_HOW_CONSTANT (1 << 11)
#define NV_HOW_NEXT (1 << 12)
#define NV_HOW_BYTES(how) (1 << ((how) >> 13 & 3))
#define NV_HOW_UNIT(how) ((how) >> 15 & 3)
#define NV_UNIT_PAGE 1
#define NV_UNIT_ORDER 2
#define NV_HOP_BITS 20 /* of an offset in `at`; all but the first are one more, 0: there is none */

nv_inline nv_u64 nv_hop(int typed, nv_u64 base, int offset, int how, int last)
{
	nv_u64 value = 0;

	if (last && how & NV_HOW_ADDRESS)
		return base + offset;
	if (!last || !(how & NV_HOW_NUMBER))
		return nv_load64(typed, base, offset);
	bpf_probe_read_kernel(&value, NV_HOW_BYTES(how), (void *)(base + offset));
	return value;
}

nv_inline nv_u64 nv_follow(int typed, nv_u64 base, int how, long long at)
{
	const int mask = (1 << NV_HOP_BITS) - 1;
	int second = at >> NV_HOP_BITS & mask, third = at >> 2 * NV_HOP_BITS & mask;
	nv_u64 value = nv_hop(typed, base, at & mask, how, !second);

	if (second)
		value = nv_hop(typed, value, second - 1, how, !third);
	return third ? nv_hop(typed, value, third - 1, how, 1) : value;
}

nv_inline nv_u64 nv_number(nv_u64 value, int how)
{
	const int unused = 64 - 8 * NV_HOW_BYTES(how);

	value = how & NV_HOW_SIGNED ? (nv_u64)((long long)(value << unused) >> unused) :
				      value << unused >> unused;
	if (how & NV_HOW_NEXT)
		value++;
	if (NV_HOW_UNIT(how) == NV_UNIT_PAGE)
		return value << NV_PAGE_SHIFT;
	return NV_HOW_UNIT(how) == NV_UNIT_ORDER ? 1ULL << (NV_PAGE_SHIFT + (value & 63)) : value;
}

/* An argument, or what lies `at` bytes into the struct it points to (at >= 0), or further on. */
nv_inline nv_u64 nv_value(int typed, const nv_u64 *args, int how, long long at)
{
	nv_u64 value;

	if (how & NV_HOW_CONSTANT)
		return at;
	value = args[how & NV_HOW_SLOT];
	if (at >= 0)
		value = nv_follow(typed, value, how, at);
	return how & NV_HOW_NUMBER ? nv_number(value, how) : value;
}

/* What a range of numbers means: programs.py lists them as NV_..._CASES, to return one of them. */
#define NV_CASE(first, last, word) \
	if (number >= (first) && number <= (last)) \
		return word;

nv_inline void nv_lose(int cause)
{
	lost.atomic_increment(cause);
}

nv_inline void nv_miss(int point, int edge)
{
	missed.atomic_increment(NV_EDGES * point + edge);
}

/* The task is not inside the call that began then: its exit was missed, unless
 * that call began before everything was attached, or was not to be counted.
 */
nv_inline void nv_stale(int point, nv_u64 start_ns)
{
	int zero = 0;
	nv_u64 *armed_ns = armed.lookup(&zero);

	if (armed_ns && *armed_ns && start_ns >= *armed_ns)
		nv_miss(point, NV_EDGE_EXIT);
}

/* The VM of a shadow MMU. container_of(): the type is lost on the way back, so no plain load. */
#define NV_KVM_OF_MMU(typed, mmu) \
	(nv_load64(typed, mmu, NV_OFFSET_MMU_ARCH) - NV_OFFSET_KVM_ARCH)

nv_inline void nv_key_of(struct nv_key *key, nv_u64 kvm, nv_u32 labels)
{
	key->kvm = kvm;
	key->pid = nv_load32(0, kvm, NV_OFFSET_KVM_PID);
	key->labels = labels;
}

/* Who an MMU is, in maps and in events: see struct nv_mmu. 0 before it has page tables. */
#define NV_MMU_ID(typed, mmu) nv_load64(typed, mmu, NV_OFFSET_MMU_PGT)

#endif /* BPF_F_TABLE */
#endif /* NVSCOPE_H */
