;; Writes every record as it was read to the default output, and again to the topic "copies".
(module $tee
  (import "redpanda_transform" "check_abi_version_2" (func $check_abi))
  (import "redpanda_transform" "read_batch_header" (func $read_batch_header
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "redpanda_transform" "read_next_record" (func $read_next_record
    (param i32 i32 i32 i32 i32) (result i32)))
  (import "redpanda_transform" "write_record" (func $write_record (param i32 i32) (result i32)))
  (import "redpanda_transform" "write_record_with_options" (func $write_with_options
    (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  ;; An option: 1, the length as a zig-zag varint, the topic.
  (data (i32.const 80) "\01\0ccopies")
  (func (export "_start") (local $len i32)
    (call $check_abi)
    (loop $batches
      (drop (call $read_batch_header (i32.const 0) (i32.const 8) (i32.const 12) (i32.const 16) (i32.const 20)
        (i32.const 24) (i32.const 32) (i32.const 40) (i32.const 48) (i32.const 52)))
      (block $exhausted
        (loop $records
          (local.set $len (call $read_next_record
            (i32.const 56) (i32.const 64) (i32.const 72) (i32.const 4096) (i32.const 65536)))
          (br_if $exhausted (i32.lt_s (local.get $len) (i32.const 0)))
          (if (i32.ne (call $write_record (i32.const 4096) (local.get $len)) (local.get $len))
            (then (unreachable)))
          (if (i32.lt_s (call $write_with_options (i32.const 4096) (local.get $len) (i32.const 80) (i32.const 8))
              (i32.const 0))
            (then (unreachable)))
          (br $records)))
      (br $batches))))
