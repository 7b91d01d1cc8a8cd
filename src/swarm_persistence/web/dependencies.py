"""What handlers get by naming it as a parameter: `storage: InjectedStorage`, `visit: InjectedVisit`, and others."""

from typing import Any

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import URLEncodedBody

from swarm_persistence import Storage
from swarm_persistence.web.access import Visit
from swarm_persistence.web.idempotency import IdempotentRequest
from swarm_persistence.web.open_streams import OpenStreams

AnyRequest = Request[Any, Any, Any]
FormFields = URLEncodedBody[dict[str, str]]
Idempotent = NamedDependency[IdempotentRequest]
InjectedStorage = NamedDependency[Storage]
InjectedStreams = NamedDependency[OpenStreams]
InjectedVisit = NamedDependency[Visit]
RecordId = NamedDependency[str]
"""The id in the path of a request to the API, decoded: `record_id: RecordId`."""
