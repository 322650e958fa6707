/* What a victim becomes by exec: a program that does nothing until it is killed. */
void _start(void);

void _start(void)
{
    for (;;)
#if defined(__x86_64__)
        __asm__ volatile("syscall" ::"a"(34L) : "rcx", "r11", "memory"); /* pause */
#else
        __asm__ volatile(
            "mov x8, 73\n mov x0, 0\n mov x1, 0\n mov x2, 0\n mov x3, 0\n svc 0" ::
                : "x0", "x1", "x2", "x3", "x8", "memory"); /* ppoll(none) */
#endif
}
