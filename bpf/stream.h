/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The stream: one row of counters (an interface, a row of rules, a protocol) and how a packet is
 * counted into it. A new counter is a field here and its line in count_packet(); user space finds
 * it by its name.
 *
 * Holds types and functions as packet.h does; the map values are passed in.
 */
#ifndef VTAP_STREAM_H
#define VTAP_STREAM_H

#include "compiler.h"
#include "packet.h"

#define INTERRUPTION_NS 2000000000ULL /* a longer gap is an interruption, not a sample */

/* Sums, one copy a CPU: no atomics, no lost updates; they only grow. */
struct stream {
	__u64 packets; /* as on the wire: segments merged by the kernel count one by one */
	__u64 bytes; /* of frames on the wire, Ethernet header and VLAN tags in, FCS not */
	__u64 payload_bytes; /* of transport payload, from the IP length */
	__u64 gaps; /* between consecutive packets, interruptions not included */
	__u64 gap_sum_ns;
	__u64 gap_squares_low; /* sum of the low 32 bits of each gap's square, ns^2 */
	__u64 gap_squares_high; /* sum of the high 32 bits, 2^32 ns^2 */
	__u64 interruptions; /* gaps longer than INTERRUPTION_NS */
	__u64 sequence_packets; /* that carried a sequence number */
	__u64 sequence_reverse; /* lower than the one before */
	__u64 sequence_small; /* the same again, or 2 .. SEQUENCE_THRESHOLD higher */
	__u64 sequence_big; /* more than SEQUENCE_THRESHOLD higher */
};

/* What depends on the order of packets: one cell for all CPUs, taken by atomic exchange. */
struct order {
	__u64 last_time_ns; /* of packet_time(); 0: no packet yet */
	__u64 last_sequence; /* SEQUENCE_SEEN and the number in host byte order; 0: none yet */
	__u64 padding[6]; /* a cache line each: streams of different CPUs do not contend */
};

#define SEQUENCE_SEEN (1ULL << 32)

/* Counters of one interface besides its streams, one copy a CPU. */
struct interface {
	__u64 unmatched; /* packets that no rule matches */
	__u64 merged; /* packets that arrived merged into one frame with others */
	__u64 unparsed[UNPARSED_REASONS]; /* frames by enum outcome */
};

/* The one clock: nanoseconds, CLOCK_MONOTONIC. Tests set their own into the packet. */
static __always_inline __u64 packet_time(struct __sk_buff *skb)
{
#ifdef CLOCK_IS_PACKET_TSTAMP
	return skb->tstamp;
#else
	return bpf_ktime_get_ns();
#endif
}

/*
 * A gap is below 2^31 ns, so its square is below 2^62. Its two halves are summed apart, without a
 * carry: a reader that comes between the two additions is wrong by one packet, never by 2^64.
 */
static __always_inline void count_gap(struct stream *stream, struct order *order, __u64 now_ns)
{
	__u64 last_ns = atomic_exchange(&order->last_time_ns, now_ns);
	__u64 gap_ns = now_ns - last_ns;

	if (!last_ns)
		return;
	if (now_ns < last_ns) /* two CPUs took their times in the other order */
		gap_ns = 0;
	if (gap_ns > INTERRUPTION_NS) {
		stream->interruptions++;
		return;
	}
	stream->gaps++;
	stream->gap_sum_ns += gap_ns;
	stream->gap_squares_low += gap_ns * gap_ns & 0xffffffff;
	stream->gap_squares_high += gap_ns * gap_ns >> 32;
}

/* RFC 1982: the signed 32-bit difference, so that 0 follows 0xffffffff. */
static __always_inline void count_sequence(struct stream *stream, struct order *order, __u32 number)
{
	__u64 last = atomic_exchange(&order->last_sequence, SEQUENCE_SEEN | number);
	__s32 step = number - (__u32)last;

	stream->sequence_packets++;
	if (!last || step == 1)
		return;
	if (step < 0)
		stream->sequence_reverse++;
	else if (step > SEQUENCE_THRESHOLD)
		stream->sequence_big++;
	else
		stream->sequence_small++;
}

/*
 * Packets in the frame, as they were on the wire. A frame merged on this host says how many
 * (gso_segs); one handed over by a virtual machine (tap, virtio-net) only how long each is.
 */
static __always_inline __u32 count_segments(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 segments = skb->gso_segs;
	__u32 segment_bytes = packet->segment_bytes;

	if (!segment_bytes)
		return 1;
	if (!segments)
		segments = (packet->payload_bytes + segment_bytes - 1) / segment_bytes;
	return segments ? segments : 1;
}

/*
 * Bytes on the wire: each merged packet had its own headers; a stripped tag is not in len, a header
 * that the kernel put in is.
 */
static __always_inline __u64 count_wire_bytes(struct __sk_buff *skb, const struct packet *packet,
					      __u32 segments)
{
	__u64 unseen_bytes = (skb->vlan_present ? VLAN_TAG_BYTES : 0ULL) - packet->added_bytes;

	return skb->len + unseen_bytes + (segments - 1) * (packet->payload_offset + unseen_bytes);
}

#endif
