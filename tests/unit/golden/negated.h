#define INTERFACES 1
#define ROWS 1
#define SEQUENCE_THRESHOLD 2
#define DIRECTION_IN
#define MEASURE_THROUGHPUT
#define MEASURE_GOODPUT
#define MEASURE_JITTER
#define MEASURE_SEQUENCE
#define RULES_READ_PORTS

static __always_inline int match_rule(const struct packet *packet)
{
	__u32 rule = NO_RULE;

	if (rule > 0 &&
	    !((packet->family == 4 && packet->saddr[0] == bpf_htonl(0x01010101))) &&
	    !((packet->family == 4 && (packet->daddr[0] & bpf_htonl(0xff000000)) == bpf_htonl(0x0a000000)) || (packet->family == 6 && packet->daddr[0] == bpf_htonl(0x00000000) && packet->daddr[1] == bpf_htonl(0x00000000) && packet->daddr[2] == bpf_htonl(0x00000000) && packet->daddr[3] == bpf_htonl(0x00000001))) &&
	    (packet->has_ports && !(packet->sport == 80)) &&
	    (packet->has_ports && !((packet->dport >= 1 && packet->dport <= 2) || packet->dport == 3)) &&
	    !(packet->protocol == PROTOCOL_TCP))
		return 0;
	if (rule > 1 &&
	    !(packet->protocol == PROTOCOL_TCP || packet->protocol == PROTOCOL_UDP))
		return 1;
	return rule;
}
