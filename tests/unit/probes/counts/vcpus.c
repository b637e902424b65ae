/* bpf/vcpus.h in user space, for tests/unit/probes/counts/test_vcpus.py: prints "what number" for each thing asked. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As bcc has tables: what a test does not set is not called. */
#define BPF_F_TABLE(kind, key, value, name, entries, flags)                       \
	static struct {                                                            \
		value *(*lookup)(key *);                                           \
		void (*atomic_increment)(key);                                     \
		value *(*task_storage_get)(void *, int, int);                      \
	} name
#define BPF_ARRAY(name, value, entries) BPF_F_TABLE("array", int, value, name, entries, 0)
#define BPF_F_MMAPABLE 0
#define BPF_F_NO_PREALLOC 0
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1

static _Thread_local unsigned long long now_ns = 1;
static _Alignas(64) char places[NV_VCPUS_BYTES];

#define bpf_ktime_get_ns() (now_ns)
#define bpf_get_current_task_btf() (0)
#define bpf_pseudo_fd(kind, fd) ((unsigned long long)places)
#define bpf_probe_read_kernel(to, size, from) memcpy(to, from, size)
/* Another thread may come before an add, and after it. */
#define __sync_fetch_and_add(at, number) \
	(sched_yield(), __atomic_fetch_add(at, number, __ATOMIC_RELAXED), sched_yield())
/* What is for the verifier or the compiler alone. */
#define asm
#define volatile(...)

#include "vcpus.h"

#define THREADS 4
#define ROUNDS 2000
#define VCPU_BYTES (1 << NV_VCPU_LOW_BITS)
/* Two of these, so far apart, have the same place. */
#define APART (NV_VCPUS_BYTES / 64 * (long)VCPU_BYTES)

static _Thread_local struct nv_inflight storage;
static int counts[NV_EDGES * NV_POINTS];
static nv_u64 since_ns;
static pthread_barrier_t barrier;
static char *memory;

static struct nv_inflight *get_storage(void *task, int zero, int flags)
{
	return &storage;
}

static void count_missed(int index)
{
	__sync_fetch_and_add(&counts[index], 1);
}

static nv_u64 *get_armed(int *zero)
{
	return &since_ns;
}

/* A vCPU of a VM, at a page of its own. */
static nv_u64 make(long at, nv_u64 kvm)
{
	*(nv_u64 *)(memory + at) = kvm;
	return (nv_u64)(memory + at);
}

static void begin(nv_u64 vcpu, nv_u64 at_ns)
{
	now_ns = at_ns;
	nv_begin_by_vcpu(NV_S2_FAULT, vcpu, 0);
}

/* The duration, or 0. */
static nv_u64 end(nv_u64 vcpu, nv_u64 at_ns)
{
	nv_u64 ns = 0;

	return nv_end_by_vcpu(NV_S2_FAULT, at_ns, vcpu, &ns) ? ns : 0;
}

static int has(nv_u64 vcpu)
{
	return nv_place(vcpu)->vcpu == vcpu;
}

static int lost_of(int edge)
{
	return counts[NV_EDGES * NV_S2_FAULT + edge];
}

static void say(const char *what, nv_u64 number)
{
	printf("%s %llu\n", what, number);
}

static void *race(void *number)
{
	nv_u64 vcpu = make((long)number * APART, 7), wrong = 0;
	int round;

	for (round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&barrier);
		begin(vcpu, 10);
		wrong += end(vcpu, 15) != 5;
		/* Nobody is in a call when the VM ends. */
		if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
			struct nv_vcpu *at = nv_place(vcpu);

			wrong += at->claims != (at->vcpu != 0) || at->start_ns;
			nv_drop_vcpus(7);
			wrong += at->claims || at->vcpu;
		}
	}
	return (void *)wrong;
}

int main(void)
{
	nv_u64 first, same, other, wrong = 0;
	pthread_t threads[THREADS];
	void *result;
	long i;

	memory = aligned_alloc(APART, (THREADS + 1) * APART);
	inflight.task_storage_get = get_storage;
	missed.atomic_increment = count_missed;
	armed.lookup = get_armed;
	since_ns = 1;
	first = make(0, 1);
	same = make(APART, 2);
	other = make(VCPU_BYTES, 1);

	begin(first, 100);
	say("duration", end(first, 130));
	say("has_its_place", has(first));
	end(first, 140);
	say("end_alone_is_missed_entry", lost_of(NV_EDGE_ENTRY));
	begin(first, 200);
	begin(first, 300);
	say("begin_twice_is_missed_exit", lost_of(NV_EDGE_EXIT));
	say("duration_of_the_second", end(first, 350));

	begin(first, 400);
	begin(same, 410);
	begin(other, 420);
	say("other_has_its_own", has(other));
	say("same_has_it_not", has(same));
	say("duration_of_same", end(same, 411));
	say("duration_of_first", end(first, 402));
	say("duration_of_other", end(other, 423));

	nv_drop_vcpus(2);
	say("kept_at_another_vms_end", has(first));
	begin(same, 500);
	nv_drop_vcpus(1);
	say("given_back", has(first) + has(other));
	say("duration_across", end(same, 504));
	begin(same, 600);
	say("had_by_the_next", has(same));
	say("duration_there", end(same, 606));
	nv_drop_vcpus(2);
	say("missed_so_far", lost_of(NV_EDGE_ENTRY) + lost_of(NV_EDGE_EXIT));

	pthread_barrier_init(&barrier, 0, THREADS);
	for (i = 0; i < THREADS; i++)
		pthread_create(&threads[i], 0, race, (void *)i);
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &result);
		wrong += (nv_u64)result;
	}
	say("wrong_in_a_race", wrong);
	say("missed_in_a_race", lost_of(NV_EDGE_ENTRY) + lost_of(NV_EDGE_EXIT) - 2);
	return 0;
}
