"""The doors of the hospital's edge, and who gets its results."""

from collections.abc import Callable, Sequence

from readingroom_hub.ports.forward import Forward
from readingroom_hub.ports.reception import Door, Reception, TlsFiles


def dimse(
    reception: Reception,
    address: tuple[str, int],
    ae_title: str,
    allowed: Sequence[str],
    associations: int,
    tls: TlsFiles | None,
    tell: Callable[[str], None],
) -> Door:
    """The edge's DICOM door, open. Raises BadInput."""
    from readingroom_hub.adapters import edge_tls
    from readingroom_hub.adapters.edge_dimse import DimseServer, Entrance

    return DimseServer(
        Entrance(*address, ae_title, allowed, associations, edge_tls.server(tls) if tls else None), reception, tell
    )


def stow(
    reception: Reception,
    address: tuple[str, int],
    token: str,
    requests: int,
    tls: TlsFiles | None,
    tell: Callable[[str], None],
) -> Door:
    """The edge's web door, open. Raises BadInput."""
    from readingroom_hub.adapters import edge_tls
    from readingroom_hub.adapters.edge_stow import StowServer, WebEntrance

    return StowServer(WebEntrance(*address, token, requests, edge_tls.for_uvicorn(tls) if tls else {}), reception, tell)


def forward(to: str, ae_title: str, tls: TlsFiles | None) -> Forward:
    """Who gets the edge's results: HOST:PORT/AETITLE. Raises BadInput."""
    from readingroom_hub.adapters import edge_forward, edge_tls

    receiver = edge_forward.Receiver(*edge_forward.parse(to), ae_title, edge_tls.client(tls) if tls else None)
    return edge_forward.DicomForward(receiver)
