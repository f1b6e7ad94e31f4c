/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The packet: what one frame says about itself, read once (parse.h), never looked at again.
 *
 * Holds constants, types and static __always_inline functions over plain helpers. BCC rewrites
 * map.lookup() and its like in the main file only, so nothing here touches a map.
 */
#ifndef VTAP_PACKET_H
#define VTAP_PACKET_H

#include "compiler.h"

#define ETHERNET_HEADER_BYTES 14
#define VLAN_TAG_BYTES 4
#define IPV4_HEADER_BYTES 20 /* without options */
#define IPV6_HEADER_BYTES 40
#define TCP_HEADER_BYTES 20 /* without options */
#define UDP_HEADER_BYTES 8
#define ICMP_HEADER_BYTES 8 /* ICMP and ICMPv6: type, code, checksum and four bytes more */

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100 /* IEEE 802.1Q */
#define ETHERTYPE_QINQ 0x88a8 /* IEEE 802.1ad */
#define ETHERTYPE_QINQ_OLD 0x9100 /* QinQ before 802.1ad */

#define NEXT_HOP_BY_HOP 0 /* IPv6 extension headers: RFC 8200, IANA protocol numbers */
#define NEXT_ICMP 1
#define NEXT_TCP 6
#define NEXT_UDP 17
#define NEXT_ROUTING 43
#define NEXT_FRAGMENT 44
#define NEXT_AUTHENTICATION 51
#define NEXT_ICMPV6 58
#define NEXT_DESTINATION_OPTIONS 60
#define NEXT_MOBILITY 135
#define NEXT_HOST_IDENTITY 139
#define NEXT_SHIM6 140

#define HOP_BY_HOP_JUMBO_BYTES 8 /* hop-by-hop header with the jumbo option alone */
#define IPV4_MORE_FRAGMENTS 0x2000 /* RFC 791 section 3.1 */
#define IPV4_FRAGMENT_OFFSET 0x1fff /* the same; in units of 8 bytes */

#ifndef MAX_VLAN_TAGS
#define MAX_VLAN_TAGS 4 /* tags in the bytes; one more may be stripped into the skb */
#endif
#ifndef MAX_IPV6_EXTENSIONS
#define MAX_IPV6_EXTENSIONS 6 /* as xdp-tools' parsing_helpers.h */
#endif

/* Protocols that have streams, in the order of vtap/rules.py's Protocol. */
enum protocol { PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP, PROTOCOLS };

/* What became of a frame; the reasons in the order of vtap/samples.py's UNPARSED_REASONS. */
enum outcome {
	NOT_IP, /* neither IPv4 nor IPv6: ARP, LLDP, ... */
	OTHER_PROTOCOL, /* IP, but not TCP, UDP, ICMP or ICMPv6 */
	TRUNCATED, /* shorter than its own headers or its IP length */
	MALFORMED, /* headers that contradict themselves */
	TOO_MANY_TAGS, /* more VLAN tags than MAX_VLAN_TAGS */
	TOO_MANY_EXTENSIONS, /* more extension headers than MAX_IPV6_EXTENSIONS */
	UNPARSED_REASONS,
	PARSED = UNPARSED_REASONS,
};

struct packet {
	__u32 family; /* 4 or 6 */
	__u32 saddr[4]; /* network byte order; IPv4 in the first */
	__u32 daddr[4]; /* network byte order; IPv4 in the first */
	enum protocol protocol; /* one of those that have streams */
	__u32 has_ports; /* 0: ICMP, or a later fragment whose first was not seen */
	__u32 sport; /* host byte order; only with has_ports */
	__u32 dport; /* host byte order; only with has_ports */
	__u32 tcp_sequence; /* host byte order; TCP, not in a later fragment */
	__u32 more_fragments; /* 0: this is the last or the only one */
	__u32 fragment_offset; /* not 0: a later fragment, which has no transport header */
	__u32 fragment_id; /* byte order as on the wire; only with one of the two above */
	__u32 l4_offset; /* bytes from the start of the skb */
	__u32 l4_bytes; /* transport header and payload, from the IP length */
	__u32 payload_offset; /* bytes from the start of the skb */
	__u32 payload_bytes; /* transport payload, from the IP length */
	__u32 is_plain; /* neither options nor extensions: the head holds it as it stands */
	__u32 segment_bytes; /* payload of each packet merged into the frame; 0: it is one packet */
	__u32 added_bytes; /* of headers that the kernel put in and the wire never saw */
};

/* A datagram in pieces: only its first fragment has ports, the later ones ask for them by this. */
struct datagram {
	__u32 saddr[4]; /* network byte order */
	__u32 daddr[4]; /* network byte order */
	__u32 id; /* as on the wire */
	__u8 family; /* 4 or 6 */
	__u8 protocol; /* enum protocol */
	__u16 interface_slot;
};

/*
 * The first headers of a frame as 32-bit words in network byte order, from 4 bytes before the IP
 * header, which aligns every field: [0] holds the ethertype, [1] the start of the IP header.
 * Plain words: LLVM turns byte arithmetic on stack objects into what the verifier refuses.
 */
#define HEAD_WORDS 16 /* to the end of an IPv6 header and a TCP header without options */
#define HEAD_BYTES (HEAD_WORDS * 4)
#define HEAD_BEFORE_IP 4
#define HEAD_L4_OF_IPV4 6 /* word where the transport header starts */
#define HEAD_L4_OF_IPV6 11 /* the same */

static __always_inline int load_head(struct __sk_buff *skb, __u64 l3_offset, __u32 *head)
{
	__u64 bytes = skb->len;

	if (bytes < l3_offset)
		return -1;
	bytes -= l3_offset - HEAD_BEFORE_IP;
	if (bytes > HEAD_BYTES)
		bytes = HEAD_BYTES;
	return bpf_skb_load_bytes(skb, l3_offset - HEAD_BEFORE_IP, head, bytes);
}

/* Behind the payload of a merged frame's first packet stand those of the others. */
static __always_inline __u32 first_payload_bytes(const struct packet *packet)
{
	if (packet->segment_bytes && packet->segment_bytes < packet->payload_bytes)
		return packet->segment_bytes;
	return packet->payload_bytes;
}

#endif
