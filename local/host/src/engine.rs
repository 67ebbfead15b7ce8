//! wasmtime, set as the broker sets it.
//!
//! A module must meet the same checks, the same stack and the same price of its instructions here
//! as there, and run at a similar speed, so nothing is made faster or more lenient.

use wasmtime::{Config, Engine, OperatorCost, OptLevel, VariableOperatorCost};

use crate::Profile;

/// Of Wasm, in bytes; the broker's fibers have 124 KiB of which host functions need the rest.
const WASM_STACK: usize = 64 * 1024;

pub(crate) fn engine(profile: Profile) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .consume_fuel(true)
        .operator_cost(flat_cost())
        .max_wasm_stack(WASM_STACK)
        // No reservation and no guard pages: every load and store is checked in code, as in the
        // broker, where linear memories lie side by side in one pool.
        .memory_reservation(0)
        .memory_reservation_for_growth(0)
        .memory_guard_size(0)
        .memory_init_cow(false);
    for (feature, on) in profile.features() {
        config.wasm_features(feature, on);
    }
    Engine::new(&config)
}

/// One unit an operator whatever it moves, and none for pure control flow: the table of wasmtime 20 and 25.
/// Newer versions also charge for every byte of a `memory.copy`.
fn flat_cost() -> OperatorCost {
    let mut cost = OperatorCost::new();
    cost.variable = VariableOperatorCost {
        memory_copy_per_byte: 0,
        memory_fill_per_byte: 0,
        memory_init_per_byte: 0,
        memory_grow_per_page: 0,
        table_copy_per_element: 0,
        table_fill_per_element: 0,
        table_init_per_element: 0,
        table_grow_per_element: 0,
        array_copy_per_element: 0,
        array_fill_per_element: 0,
        array_new_data_per_element: 0,
        array_init_data_per_element: 0,
        array_new_elem_per_element: 0,
        array_init_elem_per_element: 0,
        array_new_default_per_element: 0,
        array_new_per_element: 0,
    };
    cost
}
