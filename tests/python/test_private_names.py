"""docs/design/private-names.md: each row."""

import threading
import unittest

import piu


class PrivateNamesTest(unittest.TestCase):

    def test_semlock(self):
        for make, value in ((piu.Lock, 1), (piu.RLock, 1), (piu.Semaphore, 1),
                            (piu.BoundedSemaphore, 1)):
            sl = make()._semlock
            self.assertEqual(sl._get_value(), value)
            self.assertIs(sl._is_zero(), False)
            self.assertIs(sl.acquire(), True)
            self.assertIs(sl._is_zero(), True)
            sl.release()

    def test_semlock_constants(self):
        self.assertEqual(piu.Lock()._semlock.kind, 1)
        self.assertEqual(piu.RLock()._semlock.kind, 0)
        self.assertEqual(piu.Lock()._semlock.maxvalue, 1)
        self.assertEqual(piu.BoundedSemaphore(7)._semlock.maxvalue, 7)
        self.assertIsNone(piu.Lock()._semlock.name)
        self.assertEqual(piu.Lock()._semlock.handle, 0)

    def test_is_mine_and_count(self):
        for make in piu.Lock, piu.RLock:
            sl = make()._semlock
            self.assertEqual((sl._is_mine(), sl._count()), (False, 0))
            sl.acquire()
            self.assertEqual((sl._is_mine(), sl._count()), (True, 1))
            said = []
            thread = threading.Thread(
                target=lambda: said.append((sl._is_mine(), sl._count() > 0)))
            thread.start()
            thread.join()
            self.assertEqual(said, [(False, True)])

    def test_condition(self):
        lock = piu.Lock()
        condition = piu.Condition(lock)
        self.assertIs(condition._lock, lock)
        self.assertTrue(condition.acquire(False))
        condition.release()
        for count in (condition._sleeping_count, condition._woken_count,
                      condition._wait_semaphore):
            self.assertEqual(count.get_value(), 0)
            self.assertEqual(count._semlock._get_value(), 0)

    def test_barrier(self):
        barrier = piu.Barrier(1, action=int, timeout=3)
        self.assertIs(barrier._action, int)
        self.assertEqual(barrier._timeout, 3)


if __name__ == '__main__':
    unittest.main()
