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
	    ((packet->family == 4 && (packet->saddr[0] & bpf_htonl(0xff000000)) == bpf_htonl(0x0a000000))) &&
	    ((packet->family == 4)))
		return 0;
	if (rule > 1 &&
	    ((packet->family == 4 && (packet->saddr[0] & bpf_htonl(0xffffff80)) == bpf_htonl(0xc0a80180))) &&
	    ((packet->family == 4 && packet->daddr[0] == bpf_htonl(0xffffffff))))
		return 1;
	return rule;
}
