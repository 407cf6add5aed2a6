# distutils: language = c
# cython: language_level=3
# The compiled core: table of contents. Layout: _core.pxd. Python surface: _core.pyi.
# Everything below pyapi.pxi is `noexcept nogil` and touches no Python object.

from libc.string cimport memcmp, memcpy, memset
from libc.stdlib cimport calloc, free, malloc, realloc

include "core/sys.pxi"
include "core/const.pxi"
include "core/wire.pxi"
include "core/wheel.pxi"
include "core/fsm.pxi"
include "core/group.pxi"
include "core/check.pxi"
include "core/md5.pxi"
include "core/http.pxi"
include "core/receive.pxi"
include "core/step.pxi"
include "core/transfer.pxi"
include "core/ring.pxi"
include "core/filter.pxi"
include "core/netio.pxi"
include "core/packet.pxi"
include "core/link.pxi"
include "core/apply.pxi"
include "core/announce.pxi"
include "core/engine.pxi"
include "core/polling.pxi"
include "core/move.pxi"
include "core/alarm.pxi"
include "core/probe.pxi"
include "core/webprobe.pxi"
include "core/pyapi.pxi"
include "core/pyrings.pxi"
include "core/pyengine.pxi"
include "core/pynet.pxi"
include "core/pyitem.pxi"
include "core/pyalike.pxi"
include "core/pycheck.pxi"
include "core/pyhttp.pxi"
include "core/pyprobe.pxi"
include "core/pyipvs.pxi"
include "core/pybench.pxi"
