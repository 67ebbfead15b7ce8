;; What every guest of these tests has: the imports, one page of memory, and helpers.
;; Put in front of a test's own functions; the module's closing bracket is added after them.
(module $guest
  (import "redpanda_transform" "check_abi_version_2" (func $check_abi))
  (import "redpanda_transform" "read_batch_header" (func $read_batch_header
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "redpanda_transform" "read_next_record" (func $read_next_record
    (param i32 i32 i32 i32 i32) (result i32)))
  (import "redpanda_transform" "write_record" (func $write_record (param i32 i32) (result i32)))
  (import "redpanda_transform" "write_record_with_options" (func $write_record_with_options
    (param i32 i32 i32 i32) (result i32)))
  (import "redpanda_schema_registry" "get_schema_definition_len" (func $get_schema_definition_len
    (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_res_get" (func $clock_res_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)

  ;; 0..56 batch header, 56..80 what is told of a record, 1024.. record to write, 4096.. record read
  (func $next_batch (result i32)
    (call $read_batch_header (i32.const 0) (i32.const 8) (i32.const 12) (i32.const 16) (i32.const 20)
      (i32.const 24) (i32.const 32) (i32.const 40) (i32.const 48) (i32.const 52)))
  (func $next_record (param $buffer_len i32) (result i32)
    (call $read_next_record (i32.const 56) (i32.const 64) (i32.const 72) (i32.const 4096) (local.get $buffer_len)))
  ;; Writes a record without key and headers whose value is the (at most 63) bytes at $ptr.
  (func $emit (param $ptr i32) (param $len i32)
    (i32.store8 (i32.const 1024) (i32.const 1))
    (i32.store8 (i32.const 1025) (i32.shl (local.get $len) (i32.const 1)))
    (memory.copy (i32.const 1026) (local.get $ptr) (local.get $len))
    (i32.store8 (i32.add (i32.const 1026) (local.get $len)) (i32.const 0))
    (drop (call $write_record (i32.const 1024) (i32.add (local.get $len) (i32.const 3)))))
  (func $emit_i32 (param $value i32)
    (i32.store (i32.const 1000) (local.get $value))
    (call $emit (i32.const 1000) (i32.const 4)))
