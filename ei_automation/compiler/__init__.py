"""From a .tflite model to C that needs a tenth of the RAM.

A compiler in passes, each a function that can be read and tested alone:
`read` (flatbuffer to `graph`) -> `check` -> `fold` -> `bind` (operators to kernel calls) -> `memory` (what lies
where, which rows are kept) -> `emit` (C files). The kernels are C under `kernels/`. `toolchain` finds C compilers,
`measure` runs what was made on emulated boards. `compiling.compile_model` is the door.
"""
