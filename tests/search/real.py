"""Real searches in a folder, with listeners that keep what happened and decide when training ends."""

import time

from kmorph.search.events import (
    CandidateFailed,
    CandidateProgress,
    CandidateStarted,
    ModelRecorded,
    SearchFinished,
)
from kmorph.search.loop import Search
from kmorph.search.settings import Settings
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.strategy.propose import SurrogateProposer
from kmorph.search.workers.pool import ExecutorPool
from kmorph.search.workers.processes import WorkerProcesses
from kmorph.starts import cnn

# Seconds that no machine needs, however busy: a search under this limit does what it does under a clock, but
# ends by its number of models and of epochs.
AMPLE = 10_000.0


class Recorder:
    """A listener that keeps all events."""

    def __init__(self):
        self.recorded, self.failed, self.progress, self.started = [], [], [], []

    def __call__(self, event):
        match event:
            case CandidateStarted():
                self.candidate_started(event)
            case CandidateProgress():
                self.candidate_progress(event)
            case ModelRecorded():
                self.candidate_recorded(event.record)
            case CandidateFailed():
                self.failed.append(event.record)
            case SearchFinished():
                self.best = event.best

    def candidate_started(self, event):
        self.started.append(event.change)

    def candidate_progress(self, event):
        self.progress.append(event)

    def candidate_recorded(self, record):
        self.recorded.append(record)


class Impatient(Recorder):
    """Ends each training after some images; after some models the clock jumps to the time to settle.

    So a search takes the decisions of a long one in little time, and the same ones on a busy machine.
    """

    def __init__(self, path, images=1200, models=None):
        super().__init__()
        self.path, self.images, self.models, self.ahead = path, images, models, 0.0

    def clock(self):
        return time.time() + self.ahead

    def candidate_started(self, event):
        super().candidate_started(event)
        for file in self.path.rglob("stop"):
            file.unlink()

    def candidate_progress(self, event):
        super().candidate_progress(event)
        if event.images > self.images:
            next(self.path.rglob("*.jsonl")).with_name("stop").touch()

    def candidate_recorded(self, record):
        super().candidate_recorded(record)
        if len(self.recorded) == self.models:
            self.ahead = 0.6 * AMPLE


def settings(**changes):
    return Settings(
        **{"starts": (("cnn", cnn((8, 8, 1), 10, width=8)),), "n_train": 600, "max_epochs": 1, **changes}
    )


def search(
    path, data, executor, chosen, time_limit=None, resume=False, listener=None, n_workers=1, proposer=None
):
    listener = listener or Recorder()
    with RunFolder.open(path, resume) as folder:
        opened = History.open(folder.database) if folder.holds_search else History.create(folder.database)
        with opened as history:
            data.save(folder.scratch)
            pool = executor if isinstance(executor, WorkerProcesses) else ExecutorPool(executor)
            searching = Search(
                folder,
                history,
                folder.scratch,
                chosen,
                listener,
                pool,
                n_workers,
                proposer or SurrogateProposer(),
                getattr(listener, "clock", time.time),
            )
            searching.run(time_limit)
    return listener
