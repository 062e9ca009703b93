from pyebpf.sys.libc import ForeignFunctions

ffi: ForeignFunctions
