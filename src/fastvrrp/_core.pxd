# Layout contract of the core: every struct, enum and limit. The code is in core/*.pxi.
#
# Rules: plain data, absolute CLOCK_MONOTONIC nanoseconds (i64), indices instead of pointers in the
# arena records. A cfg_t is one heap block made by the control thread, immutable once committed.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

ctypedef uint8_t u8
ctypedef uint16_t u16
ctypedef uint32_t u32
ctypedef uint64_t u64
ctypedef int32_t i32
ctypedef int64_t i64

cdef enum:
    NONE = 0xFFFFFFFF           # "no index"
    VRRP_PROTOCOL = 112         # RFC 9568 5.1.1.4
    VRRP_HEADER = 8
    V2_AUTH_LEN = 8
    PRIORITY_OWNER = 255
    PRIORITY_STOP = 0
    MAX_ADDRESSES = 255         # one octet in the packet
    MAX_PDU = 8 + 255 * 16 + 8
    MAX_TRACKS = 1024
    MAX_PEERS = 1024
    LOGGED_RESET_NS = 60000000000

cdef enum:                      # states
    S_INIT = 0
    S_BACKUP = 1
    S_MASTER = 2
    S_FAULT = 3
    N_STATES = 4

cdef enum:                      # deadlines of an instance
    D_ADVERT = 0
    D_DOWN = 1                  # RFC 9568: Active_Down_Timer
    D_GARP = 2                  # second burst
    D_REFRESH = 3
    D_RETRY = 4                 # play the up program again after a failure
    D_EXTRA = 5                 # garp_extra_if
    N_DUE = 6

cdef enum:                      # flags
    F_NOPREEMPT = 1
    F_WANT_MASTER = 2
    F_LOWER_PRIO_NO_ADVERT = 4
    F_HIGHER_PRIO_SEND_ADVERT = 8
    F_OWNER_IGNORE_ADVERTS = 16
    F_SKIP_CHECK_ADV_ADDR = 64
    F_CHECKSUM_AS_V2 = 128
    F_DONT_TRACK_PRIMARY = 256
    F_UNICAST = 512
    F_OLD_CHECKSUM = 2048       # unicast IPv4 v3: send the checksum of keepalived before 1.3.7
    F_NO_OLD_CHECKSUM = 4096    # and do not accept it
    F_PACKET = 1024             # adverts go out as frames, with the MAC address of the record

cdef enum:                      # fault reason bits
    FAULT_LINK = 1
    FAULT_TRACK_LINK = 2
    FAULT_SCRIPT = 4
    FAULT_FILE = 8
    FAULT_PROCESS = 16
    FAULT_SOURCE = 32
    FAULT_GROUP = 64
    FAULT_AWAIT = 128
    FAULT_CONFIG = 256
    FAULT_SERVER = 512
    FAULT_STATIC = 1024
    FAULT_MULTICAST = 2048
    # reasons that only the core sets; the rest belong to the control plane
    FAULT_OF_CORE = 1 | 2 | 32 | 64

cdef enum:                      # why a state was entered
    R_NONE = 0
    R_STARTUP = 1
    R_NO_RESPONSE = 2           # Active_Down_Timer expired
    R_PRIORITY_ZERO = 3         # the master stopped
    R_PREEMPT = 4               # lower priority master was discarded until the timer expired
    R_HIGHER_PRIORITY = 5
    R_HIGHER_ADDRESS = 6
    R_GROUP = 7
    R_FAULT = 8
    R_RECOVERED = 9
    R_STOP = 10
    R_LATE = 11
    N_REASONS = 12

cdef enum:                      # receive results: index of a counter
    RX_OK = 0
    RX_LENGTH = 1
    RX_VERSION = 2
    RX_TYPE = 3
    RX_VRID = 4
    RX_TTL = 5
    RX_CHECKSUM = 6
    RX_COUNT = 7
    RX_AUTH_TYPE = 8
    RX_AUTH = 9
    RX_INTERVAL = 10
    RX_KIND = 11
    RX_PEER = 12
    RX_OWN = 13
    RX_OWNER_IGNORED = 14
    RX_STATE = 15               # INIT, FAULT or start-up delay
    RX_IP = 16                  # malformed network header
    N_RX = 17

cdef enum:                      # counters of an instance, after the N_RX receive results
    C_TX = 17
    C_TX_ZERO = 18
    C_RX_ZERO = 19
    C_BECOME_MASTER = 20
    C_RELEASE_MASTER = 21
    C_ADDR_MISMATCH = 22
    C_INTERVAL_MISMATCH = 23
    C_CHECKSUM_PLAIN = 24       # v3 IPv4 adverts without pseudo-header (RFC 9568 form)
    C_LATE = 25
    C_MISSED = 26               # own adverts skipped because the loop slept over them
    C_CONTENTION = 27
    C_ANNOUNCE = 28
    C_SEND_ERROR = 29
    N_COUNTERS = 30

cdef enum:                      # actions
    A_TX = 1                    # priority, c=1: also when INIT/FAULT (priority 0)
    A_ANNOUNCE = 2              # a=repeat, b=mask of record flags, 0: all
    A_PLAY = 3                  # a=program (P_UP...), b=generation
    A_EVENT = 4

cdef enum:                      # programs of an instance
    P_DOWN = 0
    P_UP = 1
    P_CHANGE = 2

cdef enum:                      # events for Python
    EV_STATE = 1
    EV_PRIORITY = 2
    EV_RX_LOWER_PRI = 3
    EV_DUAL_MASTER = 4
    EV_LATE = 5
    EV_PLAYED = 6
    EV_RX_ERROR = 7
    EV_INTERVAL_MISMATCH = 8
    EV_ADDR_MISMATCH = 9
    EV_LINK = 10
    EV_LINK_RESYNC = 11
    EV_COMMITTED = 12
    EV_STOPPED = 13
    EV_SEND_ERROR = 14
    EV_MASTER_CHANGED = 15
    EV_GROUP = 16

cdef enum:                      # result of one attempt of a health check
    VERDICT_DOWN = 0
    VERDICT_UP = 1
    VERDICT_LOCAL = 2           # our own problem: counts for nothing

cdef enum:                      # state of a health check; the last two also: what it has become just now
    CHECK_UNKNOWN = 0           # has not completed yet
    CHECK_UP = 1
    CHECK_DOWN = 2

cdef enum:                      # flags of a health check
    CHECK_FAST_RECOVERY = 1     # no pauses between steps on the way to UP
    CHECK_HTTP = 2              # once failed: no attempt earlier than delay_before_retry, and a whole pass to recover

ctypedef struct action_t:       # also the record of the event ring
    u8 kind
    u8 event
    u8 reason
    u8 priority
    u32 slot
    u32 sequence
    u32 c
    i64 now_ns
    i64 a
    i64 b
    u8 address[16]
    u32 address_len
    u32 pad

ctypedef struct out_t:
    action_t *items
    u32 n
    u32 cap
    u32 lost                    # must stay 0: the capacity is proven by the bound in step.pxi

ctypedef struct peer_t:
    u8 address[16]
    u8 min_ttl
    u8 max_ttl

ctypedef struct track_t:        # one tracked link of one instance
    u32 link
    i32 weight
    u32 reverse

ctypedef cfg_s cfg_t

cdef struct cfg_s:              # immutable after commit; the PDU and all other parts behind it
    # what an advert heard or sent needs, in the first two of them
    u32 slot
    u32 flags
    u32 link
    u32 group
    u8 vrid
    u8 family                   # 4 or 6
    u8 version
    u8 priority
    u8 down_adverts
    u8 auth_type
    u8 ttl
    u8 timer_expired_backup
    u8 alen                     # 4 or 16
    u8 has_source
    u8 has_destination
    u8 interval_bytes_hi        # as on the wire
    u8 interval_bytes_lo
    u8 source[16]
    u8 destination[16]
    u8 auth[8]
    u8 mac[8]                   # source of frames (6 used)
    u32 n_addresses
    u32 n_peers
    i64 advert_int_ns
    i64 preempt_delay_ns
    i64 hold_until_ns
    u32 pdu_len
    u32 pdu_sum                 # sum of the PDU with priority and checksum 0, without destination
    u8 *pdu
    # the rest
    u32 fault
    i32 adjust
    i64 garp_delay_ns
    i64 refresh_ns
    i64 lower_delay_ns
    i64 extra_ns
    u32 garp_repeat
    u32 refresh_repeat
    u32 lower_repeat
    u32 n_tracks
    u32 announce_len
    u32 announce                # where parts begin, from here on: see block.pxi
    u32 up                      # programs; 0: nothing to play
    u32 down
    u32 change
    u32 tracks                  # peers are behind them
    cfg_s *displaced            # the block this one replaced at its commit

ctypedef struct node_t:         # what the wheel keeps of a record: its first member
    i64 due                     # what the wheel knows
    u32 prev
    u32 next
    u16 slot
    u8 queued

ctypedef struct vr_t:           # run-time state of an instance: whole cache lines
    # what an advert heard or sent needs, in the first two of them
    node_t node
    u8 used
    u8 state
    u8 priority                 # effective
    u8 wants_master             # Active_Down_Timer expired, waiting for the sync group
    u8 stopped
    u8 master_known
    u8 master_priority
    u8 master_untold            # the master changed again while no event was due
    i64 due[6]
    i64 master_int_ns           # learned (v3)
    i64 preempt_until_ns
    u8 master[16]
    u32 next_same               # next instance of the same link, family and VRID
    u32 group_next
    u8 late_extended
    u8 resumed
    u8 contention
    u8 vips                     # 0 down, 1 asked for, 2 up
    u8 down_reason              # what a timeout now would mean: R_NO_RESPONSE, R_PRIORITY_ZERO, R_PREEMPT
    u8 plain_checksum           # last accepted v3 IPv4 advert had no pseudo-header
    u8 old_checksum             # the peer sends the checksum of keepalived before 1.3.7
    u8 adding                   # an up program, played again, is on its way
    # the rest
    u8 reason
    u8 announce_mask
    u8 retries
    u8 limited                  # there is something in its limits_t
    u32 second_repeat           # of the burst that D_GARP announces
    u32 fault
    i32 adjust
    i32 link_adjust
    u32 sequence
    u32 generation
    u32 reign                   # generation in which it became master
    i64 since_ns
    i64 master_told_ns          # no event about another master before this
    u8 pad[16]

ctypedef struct limits_t:       # of an instance whose peers say what they should not: one cache line
    i64 zero_after_ns           # no answer to a goodbye before this
    i64 answer_after_ns         # none to another inferior advert
    i64 announce_after_ns       # no announcements because of inferior adverts
    i64 inferior_told_ns        # no event about inferior adverts
    i64 contention_until_ns
    i64 logged_reset_ns
    u32 logged
    u8 pad[12]

ctypedef struct stat_t:
    u64 n[30]

ctypedef struct link_t:
    i32 ifindex
    u8 used
    u8 up
    u32 table[512]              # [family == 6][vrid] -> first instance

ctypedef struct group_t:
    u8 used
    u8 state
    u8 dirty
    u8 stale                    # members' faults have changed and nobody has followed yet
    u32 first
    u32 members
    u32 masters                 # members in MASTER

ctypedef struct check_t:        # one health check, see check.pxi
    i64 delay_loop_ns
    i64 delay_before_retry_ns
    i64 warmup_ns
    u32 retry
    u32 failures                # in a row, that did not count yet
    u32 steps
    u32 step                    # of the next attempt
    u32 flags
    u8 state
    u8 stuck                    # the last attempt failed: only this step until it works
    u8 suspended
    u8 pad

ctypedef struct wheel_t:
    u8 *nodes                   # the records, each begins with its node_t
    size_t stride               # bytes from one record to the next
    i64 current                 # tick up to which everything earlier is empty
    u64 occupied[24]            # 6 levels x 256 bits
    u32 head[1536]              # 6 levels x 256
    i64 low[1536]               # nothing in that slot is due earlier; of an empty one anything

ctypedef struct core_t:
    u32 cap_vr
    u32 cap_link
    u32 cap_group
    u32 high_vr                 # one past the highest slot ever used
    vr_t *vr
    limits_t *limits            # of who is not limited none is touched
    u64 *stat                   # [N_COUNTERS][cap_vr]: of what hardly ever happens no page is touched
    cfg_t **cfg
    link_t *link
    group_t *group
    u32 *scratch                # due list of one tick
    u32 n_dirty
    u32 *dirty
    u64 rx[17]                  # rejections that belong to no instance
    u32 rx_logged
    i64 coalesce_ns             # adverts due this soon after a fired one leave with it; 0: exact
    i64 early_ns                # coalesce_ns while that pass runs
    i64 base_ns                 # where the intervals of coalesced adverts begin
    u32 illegal                 # refused transitions; must stay 0
    u64 late                    # own pauses that instances have noticed
    u64 missed                  # adverts that were left out because of them
    i64 rx_logged_reset_ns
    wheel_t wheel
