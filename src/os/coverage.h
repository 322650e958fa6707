/*
 * Built for coverage (tools/cov), a process writes its counts when it ends by exit().  One that
 * ends otherwise says so before.  (A weak reference would not be linked.)
 */
#ifndef PIU_OS_COVERAGE_H
#define PIU_OS_COVERAGE_H

#ifdef PIU_COVERAGE
extern void __gcov_dump(void);
#define coverage_save() __gcov_dump()
#else
#define coverage_save() ((void)0)
#endif

#endif
