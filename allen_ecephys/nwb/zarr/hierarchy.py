"""The groups and arrays of a Zarr store, from its metadata: consolidated, or one document for each.

Sources: Zarr specification 2 ("Metadata", "Hierarchies", "Attributes"; consolidated metadata as zarr-python's
``.zmetadata``), Zarr specification 3 ("Metadata", "Chunk grids", "Chunk key encoding"; consolidated metadata inline in
the root's ``zarr.json``), and for what NWB adds the storage specification of hdmf-zarr ("Storing Groups, Datasets and
Attributes", "Links": the attribute ``_LINKS``, and ``zarr_link`` before hdmf-zarr 0.14).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import CorruptFileError, FileFormatError
from ..links import MOST_LINKS
from .objects import FolderObjects, Objects, checked_key, checked_metadata

#: Attributes of a group that list its links: the convention's, and that of format 2.
LINKS = ("_LINKS", "zarr_link")

#: How a link names its own store.
SAME_STORE = (".", "")


@dataclass
class Node:
    """A group or an array of a store.

    Attributes
    ----------
    path
        Where it lies, without a slash at either end; empty for the root.
    array
        The array's metadata document; None for a group.
    attributes
        Its attributes, as Python values.
    """

    path: str
    array: Mapping[str, Any] | None
    attributes: Mapping[str, Any]
    links: dict[str, str] = field(default_factory=dict)


class Hierarchy:
    """All groups and arrays of a store.

    Parameters
    ----------
    objects
        The store.

    Raises
    ------
    FileFormatError
        If it is no Zarr store.
    CorruptFileError
        If its metadata are damaged.
    """

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.is_local = isinstance(objects, FolderObjects)
        self.name = objects.name
        self._nodes: dict[str, Node | None] = {}
        self._children: dict[str, list[str]] | None = None
        self.format = 3 if self._load_3() else 2
        if self.format == 2:
            self._load_2()

    # --- finding -----------------------------------------------------------------------------------------------

    def node(self, path: str) -> Node | None:
        """Return what lies at `path`, None where nothing does. Links within the store are followed.

        Raises
        ------
        FileFormatError
            If a link on the way leads to another store, or links follow one another for too long.
        """
        return self._found(path.strip("/"), ())

    def children(self, path: str) -> list[str]:
        """Return the names in the group at `path`, sorted; nothing where there is no group."""
        node = self.node(path)
        if node is None or node.array is not None:
            return []
        if self._children is not None:
            own = self._children.get(node.path, [])
        else:
            own = [name for name in self.objects.names(node.path) if self._is_child(node.path, name)]
        return sorted({*own, *node.links})

    def _found(self, path: str, followed: tuple[str, ...]) -> Node | None:
        if not path:
            return self._own("")
        parent_path, _, name = path.rpartition("/")
        parent = self._found(parent_path, followed)
        if parent is None or parent.array is not None:
            return None
        target = parent.links.get(name)
        if target is None:
            return self._own(f"{parent.path}/{name}".strip("/"))
        if target in followed:
            return None
        if len(followed) >= MOST_LINKS:
            msg = f"{path} of {self.name} lies behind a chain of more than {MOST_LINKS} links: refused"
            raise FileFormatError(msg)
        if target.startswith("\0"):
            msg = f"{path} of {self.name} links to another store, {target[1:]!r}: refused"
            raise FileFormatError(msg)
        return self._found(target, (*followed, target))

    def _own(self, path: str) -> Node | None:
        """Return what the store itself holds at a path, without links."""
        if path not in self._nodes:
            if self._children is not None:
                return None
            checked_key(path, self.name)
            self._nodes[path] = self._read_3(path) if self.format == 3 else self._read_2(path)
        return self._nodes[path]

    def _is_child(self, parent: str, name: str) -> bool:
        if name.startswith(".") or name == "zarr.json":
            return False
        return self._own(f"{parent}/{name}".strip("/")) is not None

    # --- metadata ----------------------------------------------------------------------------------------------

    def _load_3(self) -> bool:
        root = self._document("zarr.json")
        if root is None:
            return False
        if root.get("zarr_format") != 3:
            msg = f"{self.name} is of Zarr format {root.get('zarr_format')!r}; formats 2 and 3 are read"
            raise FileFormatError(msg)
        self._nodes[""] = self._node("", root, root.get("attributes"))
        held = root.get("consolidated_metadata")
        if isinstance(held, dict) and isinstance(held.get("metadata"), dict):
            for path, document in held["metadata"].items():
                where = checked_key(str(path), self.name)
                if not isinstance(document, dict):
                    raise damaged_metadata(self.name, where)
                self._nodes[where] = self._node(where, document, document.get("attributes"))
            self._note_children()
        return True

    def _load_2(self) -> None:
        consolidated = self._document(".zmetadata")
        if consolidated is None:
            self._nodes[""] = self._read_2("")
            if self._nodes[""] is None:
                msg = f"{self.name} is no Zarr store: it has neither .zmetadata, .zgroup nor zarr.json. Check the path"
                raise FileFormatError(msg)
            return
        held = consolidated.get("metadata")
        if not isinstance(held, dict):
            raise damaged_metadata(self.name, ".zmetadata")
        for key, document in held.items():
            path, _, kind = str(key).rpartition("/")
            if kind not in (".zarray", ".zgroup"):
                continue
            if path:
                checked_key(path, self.name)
            if not isinstance(document, dict):
                raise damaged_metadata(self.name, ".zmetadata", key)
            attributes = held.get(f"{path}/.zattrs" if path else ".zattrs")
            self._nodes[path] = self._node(path, document, attributes)
        self._nodes.setdefault("", Node("", None, {}))
        self._note_children()

    def _read_3(self, path: str) -> Node | None:
        document = self._document(f"{path}/zarr.json" if path else "zarr.json")
        return None if document is None else self._node(path, document, document.get("attributes"))

    def _read_2(self, path: str) -> Node | None:
        within = f"{path}/" if path else ""
        for kind in (".zarray", ".zgroup"):
            document = self._document(within + kind)
            if document is not None:
                return self._node(path, document, self._document(within + ".zattrs"))
        return None

    def _node(self, path: str, document: Mapping[str, Any], attributes: Any) -> Node:
        is_array = "shape" in document
        held = attributes if isinstance(attributes, dict) else {}
        node = Node(path, document if is_array else None, held)
        links = [link for name in LINKS if isinstance(held.get(name), list) for link in held[name]]
        for link in links:
            if isinstance(link, dict) and isinstance(link.get("name"), str) and isinstance(link.get("path"), str):
                inside = link.get("source", ".") in SAME_STORE
                target = link["path"].strip("/")
                node.links[link["name"]] = target if inside else f"\0{link.get('source')}"
        return node

    def _note_children(self) -> None:
        children: dict[str, list[str]] = {}
        for path in list(self._nodes):
            parent, _, name = path.rpartition("/")
            if path:
                children.setdefault(parent, []).append(name)
        self._children = children

    def _document(self, key: str) -> dict[str, Any] | None:
        raw = self.objects.get(key)
        if raw is None:
            return None
        try:
            found = json.loads(checked_metadata(raw, f"{key} of {self.name}"))
        except (RecursionError, ValueError) as error:
            raise damaged_metadata(self.name, key) from error
        if not isinstance(found, dict):
            raise damaged_metadata(self.name, key)
        return found


def damaged_metadata(store: str, key: str, of: str = "") -> CorruptFileError:
    """Return the error for a document of a store that is no JSON, or not what it should be."""
    at = f" ({of})" if of else ""
    return CorruptFileError(f"{key}{at} of {store} is damaged: it is no metadata of an object. Fetch the store again")
