/* Start-up code for a program that QEMU runs by itself (machines mps2-an385, an386, an500): fills the RAM, runs the
 * model on the image that QEMU has loaded, and writes ticks, result and output as hexadecimal digits through
 * semihosting. One tick of the timer is 40 instructions with -icount shift=0, at which an instruction takes 1 ns. */
#include <stdint.h>

#define HARNESS(name) __attribute__((section(".harness." #name), used))
#define CPACR (*(volatile uint32_t *)0xE000ED88u)       /* Arm v7-M: who may use the floating-point unit */
#define TIMER_CONTROL (*(volatile uint32_t *)0x40000000u) /* CMSDK timer 0, 25 MHz, counts down */
#define TIMER_VALUE (*(volatile uint32_t *)0x40000004u)
#define TIMER_RELOAD (*(volatile uint32_t *)0x40000008u)
#define SYS_WRITEC 0x03u /* semihosting for AArch32 and AArch64, section 6 */
#define SYS_EXIT 0x18u
#define APPLICATION_EXIT 0x20026u

extern uint8_t model_data_start[], model_data_end[], model_bss_start[], model_bss_end[];
extern const uint8_t model_data_image[];
int HARNESS_INVOKE(void *first, void *second, void *third);
#ifdef HARNESS_INPUT
void *HARNESS_INPUT(void);
#else
int harness_read_row(void *image, int row, uint8_t *destination);
#endif

HARNESS(call) static void harness_call(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

HARNESS(write) static void harness_write(const volatile uint8_t *bytes, uint32_t count) {
    for (uint32_t i = 0; i < 2 * count; i++) {
        uint8_t digit = (uint8_t)(i % 2 == 0 ? bytes[i / 2] >> 4 : bytes[i / 2] & 15);
        char letter = (char)(digit < 10 ? '0' + digit : 'a' + digit - 10);
        harness_call(SYS_WRITEC, &letter);
    }
}

HARNESS(copy) static void harness_copy(volatile uint8_t *to, const volatile uint8_t *from, const uint8_t *end) {
    while (to != end) {
        *to++ = *from++;
    }
}

HARNESS(boot) void harness_boot(void) {
    uint8_t *image = (uint8_t *)HARNESS_IMAGE;
    uint8_t *output = (uint8_t *)HARNESS_OUTPUT;
    volatile uint32_t found[2];
#if defined(__ARM_FP)
    CPACR |= 0xFu << 20;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    harness_copy(model_data_start, model_data_image, model_data_end);
    for (volatile uint8_t *byte = model_bss_start; byte != model_bss_end; byte++) {
        *byte = 0;
    }
#ifdef HARNESS_INPUT
    uint8_t *input = (uint8_t *)HARNESS_INPUT();
    harness_copy(input, image, input + HARNESS_IMAGE_BYTES);
#endif
    TIMER_RELOAD = 0xFFFFFFFFu;
    TIMER_VALUE = 0xFFFFFFFFu;
    TIMER_CONTROL = 1u;
    uint32_t start = TIMER_VALUE;
#ifdef HARNESS_INPUT
    found[1] = (uint32_t)HARNESS_INVOKE(input, output, 0);
#else
    found[1] = (uint32_t)HARNESS_INVOKE((void *)harness_read_row, image, output);
#endif
    found[0] = start - TIMER_VALUE;
    harness_write((const volatile uint8_t *)found, sizeof found);
    harness_write(output, HARNESS_OUTPUT_BYTES);
    harness_call(SYS_EXIT, (const void *)APPLICATION_EXIT);
    for (;;) {
    }
}

/* Stack pointer, reset, and the faults, which end in a loop that QEMU's time limit breaks. */
__attribute__((section(".harness.vectors"), used)) const void *const harness_vectors[] = {
    (const void *)HARNESS_STACK, (const void *)harness_boot};
