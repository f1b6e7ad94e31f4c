#define INTERFACES 1
#define ROWS 1
#define SEQUENCE_THRESHOLD 2
#define DIRECTION_IN
#define MEASURE_THROUGHPUT
#define MEASURE_GOODPUT
#define MEASURE_JITTER
#define MEASURE_SEQUENCE

static __always_inline int match_rule(const struct packet *packet)
{
	__u32 rule = NO_RULE;

	if (rule > 0 &&
	    ((packet->family == 6 && packet->saddr[0] == bpf_htonl(0x20010db8) && (packet->saddr[1] & bpf_htonl(0x80000000)) == bpf_htonl(0x00000000))) &&
	    ((packet->family == 6 && packet->daddr[0] == bpf_htonl(0x00000000) && packet->daddr[1] == bpf_htonl(0x00000000) && packet->daddr[2] == bpf_htonl(0x00000000) && packet->daddr[3] == bpf_htonl(0x00000001))) &&
	    (packet->protocol == PROTOCOL_ICMP))
		return 0;
	if (rule > 1 &&
	    ((packet->family == 6)) &&
	    ((packet->family == 6 && (packet->daddr[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))))
		return 1;
	if (rule > 2 &&
	    ((packet->family == 6 && (packet->saddr[0] & bpf_htonl(0xffff0000)) == bpf_htonl(0xff020000))))
		return 2;
	return rule;
}
