/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * vTap's program: a socket filter that counts packets and lets none through to user space.
 *
 * vtap/codegen.py resolves the includes: config.h (numbers and switches) and rules.h (the rule
 * predicate) come from the configuration, the others from this folder.
 */
#include "config.h"
#include "compiler.h"
#include "packet.h"
#include "parse.h"
#include "sequence.h"
#include "stream.h"

#define PACKET_OUTGOING 4 /* linux/if_packet.h */
#define NEAR_INTERFACES 16384 /* 128 KiB; ifindexes are given out from 1 on */
#define STREAMS (INTERFACES * ROWS * PROTOCOLS)

BPF_PERCPU_ARRAY(streams, struct stream, STREAMS);
BPF_ARRAY(orders, struct order, STREAMS);
BPF_PERCPU_ARRAY(interfaces, struct interface, INTERFACES);
#if INTERFACES > 1
/* ifindex -> slot + 1, 0: none.  The kernel inlines the lookup of an array, not that of a hash. */
BPF_ARRAY(near_slots, __u32, NEAR_INTERFACES);
BPF_HASH(far_slots, __u32, __u32, INTERFACES);
#endif
#ifdef SEQUENCE_PATTERN
BPF_PERCPU_ARRAY(chunks, struct chunk, 1);
#endif
#ifdef RULES_READ_PORTS
BPF_TABLE("lru_hash", struct datagram, __u32, datagram_ports, 4096); /* sport << 16 | dport */
#endif

#define NO_RULE 0xffffffff /* above every rule's number; -1 as an int */
#include "filter.h"
#include "rules.h"

static __always_inline int is_wanted_direction(struct __sk_buff *skb)
{
#if defined(DIRECTION_IN)
	return skb->pkt_type != PACKET_OUTGOING;
#elif defined(DIRECTION_OUT)
	return skb->pkt_type == PACKET_OUTGOING;
#else
	return 1;
#endif
}

/* 0 and the interface's slot, or -1: not one of ours. */
static __always_inline int find_interface_slot(struct __sk_buff *skb, __u32 *slot)
{
#if INTERFACES > 1
	__u32 ifindex = skb->ifindex;
	__u32 *found = near_slots.lookup(&ifindex);

	if (!found)
		found = far_slots.lookup(&ifindex);
	if (!found || !*found)
		return -1;
	*slot = *found - 1;
#else
	*slot = 0;
#endif
	return 0;
}

static __always_inline __u32 stream_slot(__u32 interface_slot, __u32 row, __u32 protocol)
{
	return (interface_slot * ROWS + row) * PROTOCOLS + protocol;
}

#ifdef RULES_READ_PORTS
static __always_inline void share_ports(struct packet *packet, __u32 interface_slot)
{
	struct datagram datagram = {};
	__u32 ports, *found;

	if (!packet->fragment_offset && !(packet->more_fragments && packet->has_ports))
		return;
	__builtin_memcpy(datagram.saddr, packet->saddr, sizeof(datagram.saddr));
	__builtin_memcpy(datagram.daddr, packet->daddr, sizeof(datagram.daddr));
	datagram.id = packet->fragment_id;
	datagram.family = packet->family;
	datagram.protocol = packet->protocol;
	datagram.interface_slot = interface_slot;
	if (!packet->fragment_offset) {
		ports = packet->sport << 16 | packet->dport;
		datagram_ports.update(&datagram, &ports);
		return;
	}
	found = datagram_ports.lookup(&datagram);
	if (!found)
		return;
	packet->has_ports = 1;
	packet->sport = *found >> 16;
	packet->dport = *found & 0xffff;
}
#endif

static __always_inline void count_sequence_of(struct __sk_buff *skb, const struct packet *packet,
					      const __u32 *head, struct stream *stream,
					      struct order *order)
{
	struct chunk *chunk = 0;
	__u32 number = 0;

#ifdef SEQUENCE_PATTERN
	int zero = 0;

	chunk = chunks.lookup(&zero);
	if (!chunk)
		return;
#endif
	if (read_sequence(skb, packet, head, chunk, &number))
		count_sequence(stream, order, number);
}

static __always_inline void count_packet(struct __sk_buff *skb, const struct packet *packet,
					 const __u32 *head, __u32 slot, __u32 segments)
{
	struct stream *stream = streams.lookup(&slot);
	struct order *order = orders.lookup(&slot);

	if (!stream || !order)
		return;
	stream->packets += segments;
#ifdef MEASURE_THROUGHPUT
	stream->bytes += count_wire_bytes(skb, packet, segments);
#endif
#ifdef MEASURE_GOODPUT
	stream->payload_bytes += packet->payload_bytes;
#endif
#ifdef MEASURE_JITTER
	count_gap(stream, order, packet_time(skb));
#endif
#ifdef MEASURE_SEQUENCE
	count_sequence_of(skb, packet, head, stream, order);
#endif
}

/* What is no stream's: looked up only here, so that an ordinary packet does not pay for it. */
static __always_inline void count_unparsed(__u32 interface_slot, enum outcome outcome)
{
	struct interface *interface = interfaces.lookup(&interface_slot);

	if (interface && outcome < UNPARSED_REASONS)
		interface->unparsed[outcome]++;
}

static __always_inline void count_unmatched(__u32 interface_slot, __u32 segments)
{
	struct interface *interface = interfaces.lookup(&interface_slot);

	if (interface)
		interface->unmatched += segments;
}

static __always_inline void count_merged(__u32 interface_slot, __u32 segments)
{
	struct interface *interface = interfaces.lookup(&interface_slot);

	if (interface)
		interface->merged += segments;
}

/* Returns 0 for every packet: none is ever queued to the socket. */
int monitor(struct __sk_buff *skb)
{
	__u32 head[HEAD_WORDS] = {};
	struct packet packet = {};
	enum outcome outcome;
	__u32 interface_slot, segments;

	if (!is_wanted_direction(skb) || find_interface_slot(skb, &interface_slot) < 0)
		return 0;
	outcome = parse_packet(skb, &packet, head);
	if (outcome != PARSED) {
		count_unparsed(interface_slot, outcome);
		return 0;
	}
#ifdef RULES_READ_PORTS
	share_ports(&packet, interface_slot);
#endif
	segments = count_segments(skb, &packet);
	if (match_rule(&packet) < 0) {
		count_unmatched(interface_slot, segments);
		return 0;
	}
	if (segments > 1)
		count_merged(interface_slot, segments);
	count_packet(skb, &packet, head, stream_slot(interface_slot, 0, packet.protocol), segments);
	return 0;
}
