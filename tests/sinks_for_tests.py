"""A sink and one writer of it, as one thing to write to."""

import threading

from tilejit.window import Window, tiles


class Written:
    """Opens a writer with the first window, and merges what it wrote before the sink is prepared."""

    def __init__(self, sink):
        self.sink, self.is_prepared, self._writer, self._lock = sink, False, None, threading.Lock()

    def __getattr__(self, name):
        return getattr(self.sink, name)

    def opened(self):
        with self._lock:
            self._writer = self._writer or self.sink.writer()
            return self._writer

    def write(self, window, array):
        self.opened().write(window, array)

    def prepare(self):
        writer, self._writer = self._writer, None
        if writer is not None:
            self.sink.merge(writer.finish())
        self.sink.prepare()
        self.is_prepared = True

    def publish(self):
        if not self.is_prepared:
            self.prepare()
        self.sink.publish()


def write_all(sink, array, side=None):
    whole = Window(0, 0, *array.shape[1:])
    for window in tiles(*whole.shape, *(side or sink.block)):
        sink.write(window, array[:, *window.slices(whole)])
