"""The IAMPolicy service of google.iam.v1: every permission is granted unless a test denied it.

Its methods are the RPCs of the same names, called by the handlers that `server` makes. Policies are stored and read
back; they must not be thought to decide anything.
"""

from __future__ import annotations

from daemon.local.pubsub.faults import Faults
from daemon.local.pubsub.schema import (
    GetIamPolicyRequest,
    Policy,
    SetIamPolicyRequest,
    TestIamPermissionsRequest,
    TestIamPermissionsResponse,
)


class IamPolicy:
    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.policies: dict[str, Policy] = {}

    async def get_iam_policy(self, request: GetIamPolicyRequest) -> Policy:
        return self.policies.get(request.resource) or Policy(etag=b"none")

    async def set_iam_policy(self, request: SetIamPolicyRequest) -> Policy:
        self.policies[request.resource] = request.policy
        return request.policy

    async def test_iam_permissions(self, request: TestIamPermissionsRequest) -> TestIamPermissionsResponse:
        granted = [one for one in request.permissions if not self.faults.is_denied(one, request.resource)]
        return TestIamPermissionsResponse(permissions=granted)
