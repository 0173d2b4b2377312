"""Ways out of an HDF5 file, found and refused.

An HDF5 file can take what it shows from other files: by an external link, by external storage of a dataset's bytes, or
by a virtual dataset whose sources are datasets of other files. HDF5 follows all three in silence, so a file from a
stranger could bring any file of the reader's computer into an analysis, and a copied one could show numbers that it
does not hold (HDF5 user guide, "External Storage Properties" and "Virtual Dataset").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ..errors import FileFormatError

if TYPE_CHECKING:
    import h5py

#: How a virtual dataset names its own file.
SAME_FILE = "."

#: Soft links followed one after the other before a file is refused; HDF5's own limit.
MOST_LINKS = 16


class Links:
    """The links of one open file, followed as far as they stay in it.

    Parameters
    ----------
    file
        The open file.
    name
        What messages call it.

    Notes
    -----
    Steps that were found to stay in the file are remembered: it is open for reading, and does not change.
    """

    def __init__(self, file: h5py.File, name: str) -> None:
        self._file = file
        self._name = name
        self._inside: set[str] = set()

    def reach(self, path: str) -> bool:
        """Tell whether each step to `path` exists; refuse a step out of the file.

        Soft links are followed, whether a released file links to another group or a hostile one through it.

        Raises
        ------
        FileFormatError
            If a link on the way points to another file, or links follow one another for too long.
        """
        return self._reach(path, ())

    def object(self, path: str) -> h5py.Group | h5py.Dataset | None:
        """Return what lies at `path`, None where there is nothing; refuse what is kept in another file.

        Raises
        ------
        FileFormatError
            If a link on the way, the dataset's bytes or a source of the virtual dataset lie in another file.
        """
        import h5py

        if not self.reach(path) or path not in self._file:
            return None
        found = self._file[path]
        if isinstance(found, h5py.Dataset):
            self._check_values(found, frozenset())
        return cast("h5py.Group | h5py.Dataset", found)

    def check_all(self) -> None:
        """Refuse the whole file if anything in it leads to another file.

        For libraries that are handed the open file and follow links themselves. Walks every object of the file: some
        40 ms for a released session file on a local disk.

        Raises
        ------
        FileFormatError
            Naming the first that does.
        """
        import h5py

        found: list[tuple[str, int]] = []
        self._file.id.links.visit(lambda name, info: found.append((name.decode(), info.type)), info=True)
        for path, kind in found:
            if kind == h5py.h5l.TYPE_EXTERNAL:
                self.reach(path)
            elif kind == h5py.h5l.TYPE_HARD:
                self.object(path)

    def _reach(self, path: str, links: tuple[str, ...]) -> bool:
        """Tell what :meth:`reach` tells; `links` are the soft links on the way here."""
        import h5py

        path = "/" + path.strip("/")
        if path in self._inside or path == "/":
            return True
        if path in links:
            return False
        if len(links) > MOST_LINKS:
            msg = f"{path} of {self._name} lies behind a chain of more than {MOST_LINKS} links: refused"
            raise FileFormatError(msg)
        parent, _, name = path.rpartition("/")
        if not self._reach(parent, links):
            return False
        group = self._file[parent or "/"]
        link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
        if isinstance(link, h5py.ExternalLink):
            msg = f"{path} of {self._name} links to another file, {link.filename!r}: refused"
            raise FileFormatError(msg)
        if isinstance(link, h5py.SoftLink):
            target = link.path if link.path.startswith("/") else f"{parent}/{link.path}"
            if not self._reach(target, (*links, path)):
                return False
        if link is not None:
            self._inside.add(path)
        return link is not None

    def _check_values(self, dataset: h5py.Dataset, seen: frozenset[str]) -> None:
        """Refuse a dataset whose values, or those of a source of it, lie in another file."""
        import h5py

        if dataset.external:
            msg = f"{dataset.name} of {self._name} keeps its bytes in another file, {dataset.external[0][0]!r}: refused"
            raise FileFormatError(msg)
        if not dataset.is_virtual or dataset.name in seen:
            return
        for source in dataset.virtual_sources():
            if source.file_name != SAME_FILE:
                msg = (
                    f"{dataset.name} of {self._name} is a virtual dataset that shows values of another file, "
                    f"{source.file_name!r}: refused"
                )
                raise FileFormatError(msg)
            if "%" in source.dset_name:  # HDF5 puts numbers in: which datasets are meant is not known beforehand
                msg = f"{dataset.name} of {self._name} shows datasets by a pattern, {source.dset_name!r}: refused"
                raise FileFormatError(msg)
            origin = self._file[source.dset_name] if self._reach(source.dset_name, ()) else None
            if not isinstance(origin, h5py.Dataset):
                msg = (
                    f"{dataset.name} of {self._name} shows values of {source.dset_name!r}, which the file does not "
                    "hold: HDF5 would give fill values in their place. The file was written wrongly"
                )
                raise FileFormatError(msg)
            self._check_values(origin, seen | {dataset.name})
