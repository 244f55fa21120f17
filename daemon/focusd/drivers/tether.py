"""One open session with a camera on USB, by libgphoto2; every error of the library in focusd's words."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from focusd.drivers.inbox import MAX_FRAME_BYTES
from focusd.errors import CameraError, FrameLost
from focusd.schema import did_you_mean

# How long libgphoto2 may look for an event before it says that there is none.
_EVENT_MS = 10
# libgphoto2 hands on what it has no word for as text; 400A is PTP's StoreFull (ISO 15740, event codes).
_STORE_FULL = "event 400a"
_MOST_SHOWN = 12
_TOLERANCE = 1e-5  # ranges are 32-bit floats in libgphoto2
_HELD = "another program holds it: end gvfs-gphoto2-volume-monitor or the tethering tool"
_FULL = "its card is full: change it, or set camera.delete_after_download"
_REMEDIES = {
    "GP_ERROR_IO_USB_CLAIM": _HELD,
    "GP_ERROR_IO_LOCK": _HELD,
    "GP_ERROR_NO_MEMORY": _FULL,
    "GP_ERROR_NO_SPACE": _FULL,
}
_REMEDY = "is it switched on and awake, its cable in, its autofocus off?"


@dataclass(frozen=True, slots=True)
class CardFile:
    """A file on the camera's card; its names are the camera's, never a path of this machine.

    Parameters
    ----------
    folder, name : str
        As the camera says.
    """

    folder: str
    name: str


@dataclass(frozen=True, slots=True)
class Event:
    """What a camera reports of its own accord.

    Parameters
    ----------
    kind : {'file', 'full', 'other'}
        A file was added, the card is full, or nothing that matters here.
    file : CardFile or None
        The file that was added.
    """

    kind: Literal["file", "full", "other"]
    file: CardFile | None = None


def load_gphoto2() -> Any:
    """Import python-gphoto2.

    Raises
    ------
    CameraError
        It is not installed.
    """
    try:
        import gphoto2
    except ImportError as error:
        raise CameraError(
            'python-gphoto2 is not installed here: pip install "focusd[gphoto2]", or apt install '
            "python3-gphoto2"
        ) from error
    return gphoto2


class Tether:
    """A camera that answers, until `close`.

    A session that was closed is never opened again: another `Tether` is made, with objects of its own, so
    that whatever the library kept of the old one is gone.

    Parameters
    ----------
    library : module
        `gphoto2`, or what stands in for it.
    model, port : str, optional
        Which camera, where there are several.

    Raises
    ------
    CameraError
        There is none such, it is not the only one, it does not answer, or it cannot be released over USB.
    """

    def __init__(self, library: Any, model: str | None = None, port: str | None = None) -> None:
        self._library = library
        self.name = model or "a camera"
        with self._speaking("does not open"):
            ports = library.PortInfoList()
            ports.load()
            known = library.CameraAbilitiesList()
            known.load()
            found = known.detect(ports)
            pairs = [(found.get_name(i), found.get_value(i)) for i in range(len(found))]
        at_model, at_port = _choose(pairs, model, port)
        self.name = f"{at_model} at {at_port}"
        with self._speaking("does not open"):
            abilities = known[known.lookup_model(at_model)]
            camera = library.Camera()
            camera.set_abilities(abilities)
            camera.set_port_info(ports[ports.lookup_path(at_port)])
            if not abilities.operations & library.GP_OPERATION_TRIGGER_CAPTURE:
                raise CameraError(
                    f"camera {self.name} cannot be released over USB by libgphoto2: wire its release and use "
                    'kind = "dslr"',
                    model=at_model,
                    port=at_port,
                )
            camera.init()
        self._camera: Any = camera

    def close(self) -> None:
        """End the session. Safe to call more than once, and when the camera is gone."""
        camera, self._camera = self._camera, None
        if camera is not None:
            # A cable that was pulled leaves nothing to say good-bye to.
            with contextlib.suppress(self._library.GPhoto2Error):
                camera.exit()

    def trigger(self) -> bool:
        """Release the shutter. Some cameras answer only after the exposure.

        Returns
        -------
        bool
            False when the camera is busy and must be asked again.

        Raises
        ------
        CameraError
            It refuses, or is gone.
        """
        with self._speaking("does not release"):
            try:
                self._camera.trigger_capture()
            except self._library.GPhoto2Error as error:
                if error.code == self._library.GP_ERROR_CAMERA_BUSY:
                    return False
                raise
        return True

    def next_event(self) -> Event | None:
        """Return what the camera has to report; None when there is nothing. Waits 10 ms or so at most.

        Raises
        ------
        CameraError
            It is gone.
        """
        with self._speaking("reports nothing any more"):
            kind, data = self._camera.wait_for_event(_EVENT_MS)
        if kind == self._library.GP_EVENT_TIMEOUT:
            return None
        if kind == self._library.GP_EVENT_FILE_ADDED:
            return Event("file", CardFile(str(data.folder), str(data.name)))
        if kind == self._library.GP_EVENT_UNKNOWN and _STORE_FULL in str(data).lower():
            return Event("full")
        return Event("other")

    def read(self, file: CardFile) -> bytes:
        """Fetch a file.

        Raises
        ------
        FrameLost
            It is larger than `MAX_FRAME_BYTES`, or empty.
        CameraError
            It cannot be fetched.
        """
        library = self._library
        with self._speaking(f"does not hand over {file.name!r}"):
            # The parts of this answer do not keep the whole alive, whose memory they are in.
            answer = self._camera.file_get_info(file.folder, file.name)
            # Not every camera knows the size beforehand.
            if answer.file.fields & library.GP_FILE_INFO_SIZE:
                _check_size(file, answer.file.size)
            photograph = self._camera.file_get(file.folder, file.name, library.GP_FILE_TYPE_NORMAL)
            data = memoryview(photograph.get_data_and_size())
            _check_size(file, data.nbytes)
            return bytes(data)

    def delete(self, file: CardFile) -> None:
        """Delete a file from the camera's card.

        Raises
        ------
        CameraError
            It cannot be deleted.
        """
        with self._speaking(f"does not delete {file.name!r}"):
            self._camera.file_delete(file.folder, file.name)

    def set(self, name: str, value: bool | int | float | str) -> None:
        """Set one of the camera's settings and read it back.

        Parameters
        ----------
        name : str
            libgphoto2's, as ``gphoto2 --list-config`` shows after the last slash.
        value : bool, int, float or str
            One of its choices, a number within its range, or on and off.

        Raises
        ------
        CameraError
            There is no such setting, it does not take that value, or shows another afterwards.
        """
        where = f"camera.settings.{name}"
        widget = self._setting(name)
        wanted = self._as_widget_has_it(where, widget, value)
        if _same(widget.get_value(), wanted):
            return
        if widget.get_readonly():
            raise CameraError(
                f"{where}: camera {self.name} shows {widget.get_value()!r} and does not let it be set to "
                f"{wanted!r}: set it on the camera (its mode dial may decide)",
                shown=widget.get_value(),
                wanted=wanted,
            )
        with self._speaking(f"refuses {where} = {wanted!r}"):
            widget.set_value(wanted)
            self._camera.set_single_config(name, widget)
        shown = self._setting(name).get_value()
        if not _same(shown, wanted):
            raise CameraError(
                f"{where}: camera {self.name} shows {shown!r} after it was set to {wanted!r}: its mode "
                "dial or another setting decides it",
                shown=shown,
                wanted=wanted,
            )

    def _setting(self, name: str) -> Any:
        try:
            return self._camera.get_single_config(name)
        except self._library.GPhoto2Error as error:
            if error.code != self._library.GP_ERROR_BAD_PARAMETERS:
                raise self._said("does not tell its settings", error) from error
            raise CameraError(
                f"camera.settings.{name}: camera {self.name} has no such setting; `gphoto2 --list-config` "
                "shows those it has, name them by their last part"
            ) from error

    def _as_widget_has_it(
        self, where: str, widget: Any, value: bool | int | float | str
    ) -> bool | int | float | str:
        """Return the value as the setting's kind holds it; refuse what it would silently round."""
        library, kind = self._library, widget.get_type()
        if kind == library.GP_WIDGET_TOGGLE:
            if value not in (0, 1):
                raise CameraError(f"{where}: {value!r}; write true or false")
            return int(value)
        if kind == library.GP_WIDGET_RANGE:
            low, high, _ = widget.get_range()
            if isinstance(value, str) or not low <= value <= high:
                raise CameraError(f"{where}: {value!r}; write a number from {low:g} to {high:g}")
            return float(value)
        text = str(value)
        if kind in (library.GP_WIDGET_RADIO, library.GP_WIDGET_MENU):
            choices = [widget.get_choice(i) for i in range(widget.count_choices())]
            if text not in choices:
                shown = ", ".join(choices[:_MOST_SHOWN]) + (", ..." if len(choices) > _MOST_SHOWN else "")
                raise CameraError(
                    f"{where}: '{text}' is not among {shown}{did_you_mean(text, choices)}", choices=choices
                )
        return text

    @contextlib.contextmanager
    def _speaking(self, what: str) -> Iterator[None]:
        """Translate the library's errors."""
        try:
            yield
        except self._library.GPhoto2Error as error:
            raise self._said(what, error) from error

    def _said(self, what: str, error: Any) -> CameraError:
        remedies = {getattr(self._library, name): remedy for name, remedy in _REMEDIES.items()}
        remedy = remedies.get(error.code, _REMEDY)
        return CameraError(
            f"camera {self.name} {what}: {error.string} ({error.code}); {remedy}",
            camera=self.name,
            gphoto2_code=error.code,
        )


def _choose(found: list[tuple[str, str]], model: str | None, port: str | None) -> tuple[str, str]:
    """Return model and port of the one camera that is meant."""
    meant = [(m, p) for m, p in found if model in (None, m) and port in (None, p)]
    if len(meant) == 1:
        return meant[0]
    here = [f"{m} at {p}" for m, p in found]
    asked = " at ".join(part for part in (model, port) if part) or "any"
    if here:
        fault = (
            f"{len(meant)} of the cameras on USB are what is looked for ({asked}); there are "
            f"{', '.join(here)}: set camera.model, and camera.port for two of one model"
        )
    else:
        fault = f"no camera found on USB ({asked} was looked for); {_REMEDY}"
    raise CameraError(fault, model=model, port=port, found=here)


def _check_size(file: CardFile, size_bytes: int) -> None:
    if not 0 < size_bytes <= MAX_FRAME_BYTES:
        raise FrameLost(
            f"frame {file.name!r} has {size_bytes} bytes: not taken for a photograph, which has 1 to "
            f"{MAX_FRAME_BYTES}",
            size_bytes=size_bytes,
        )


def _same(shown: Any, wanted: bool | int | float | str) -> bool:
    if isinstance(wanted, float):
        return math.isclose(shown, wanted, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(shown == wanted)
