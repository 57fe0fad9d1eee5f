//! The list of all methods of gRPC with what they need. A new one gets its row here.

use super::table::Needs;
use crate::identity::Permission::{self, *};

/// A method of gRPC.
#[derive(Debug, Clone)]
pub(super) struct Method {
    /// Service and method.
    pub(super) name: &'static str,
    pub(super) needs: Needs,
    /// It is about something of the project `web`: not there for others.
    pub(super) of_web: bool,
    /// Text fields of the request, with their numbers.
    pub(super) fields: &'static [(u8, &'static str)],
}

fn method(name: &'static str, needs: Needs, fields: &'static [(u8, &'static str)]) -> Method {
    Method {
        name,
        needs,
        of_web: false,
        fields,
    }
}

fn calls(name: &'static str, permission: Permission, fields: &'static [(u8, &'static str)]) -> Method {
    method(name, Needs::To(permission), fields)
}

impl Method {
    fn of_web(self) -> Self {
        Self { of_web: true, ..self }
    }
}

/// All methods of `imprint.v1`.
pub(super) fn grpc() -> Vec<Method> {
    vec![
        calls("Images/ListImages", ReadImages, &[]),
        calls("Images/GetImage", ReadImages, &[(1, "{image}")]).of_web(),
        calls("ImageContents/GetImageFacts", ReadImages, &[(1, "{image}")]).of_web(),
        calls("ImageContents/GetImageLint", ReadImages, &[(1, "{image}")]).of_web(),
        calls("ImageContents/GetImageSbom", ReadImages, &[(1, "{image}")]).of_web(),
        calls("Sharing/ListMembers", ReadImages, &[(1, "{image}")]).of_web(),
        calls(
            "Sharing/GetMember",
            ReadImages,
            &[(1, "{image}"), (2, "{platform}")],
        )
        .of_web(),
        calls(
            "Sharing/InviteMembers",
            WriteImages,
            &[(1, "{image}"), (2, "{guest}")],
        )
        .of_web(),
        calls(
            "Sharing/AnswerInvitation",
            WriteImages,
            &[(1, "{image}"), (2, "{platform}"), (3, "accepted")],
        )
        .of_web(),
        calls(
            "Sharing/RemoveMember",
            WriteImages,
            &[(1, "{image}"), (2, "{platform}")],
        )
        .of_web(),
        calls("Sharing/ListInvitations", ReadImages, &[]),
        calls(
            "Sharing/PublishImage",
            WriteImages,
            &[(1, "{image}"), (2, "community")],
        )
        .of_web(),
        calls("Sharing/UnpublishImage", WriteImages, &[(1, "{image}")]).of_web(),
        calls("Sharing/ListEntitlements", ReadImages, &[(1, "{image}")]).of_web(),
        calls(
            "Sharing/GrantEntitlement",
            WriteImages,
            &[(1, "{image}"), (2, "{platform}")],
        )
        .of_web(),
        calls(
            "Sharing/RevokeEntitlement",
            WriteImages,
            &[(1, "{image}"), (2, "{platform}")],
        )
        .of_web(),
        calls("Sharing/PreflightImage", ReadImages, &[(1, "{image}")]).of_web(),
        calls("Images/UpdateImage", WriteImages, &[(1, "{image}"), (5, "x")]).of_web(),
        calls("Images/DeprecateImage", WriteImages, &[(1, "{image}")]).of_web(),
        calls("Images/ObsoleteImage", WriteImages, &[(1, "{image}")]).of_web(),
        calls("Images/DeactivateImage", WriteImages, &[(1, "{image}")]).of_web(),
        calls("Images/ActivateImage", WriteImages, &[(1, "{image}")]).of_web(),
        calls("Images/CancelImageTransitions", WriteImages, &[(1, "{image}")]).of_web(),
        calls("Images/ComposeImage", WriteImages, &[]),
        calls("Images/ListFamilies", ReadImages, &[]),
        calls("Images/GetFamily", ReadImages, &[(1, "linux-{who}")]).of_web(),
        calls("Copies/ReadContent", ReadImages, &[(1, "{image}"), (2, "none")]).of_web(),
        calls("Copies/GetContentSum", ReadImages, &[(1, "{image}"), (2, "none")]).of_web(),
        calls("Copies/ExportImage", WriteJobs, &[(1, "{image}"), (2, "none")]).of_web(),
        calls("Copies/CopyImage", WriteImages, &[(1, "{image}")]).of_web(),
        calls("Nodes/ListNodes", ReadNodes, &[]),
        calls("Nodes/GetNode", ReadNodes, &[(1, "{node}")]).of_web(),
        calls("Guests/GetGuest", ReadNodes, &[(1, "{node}")]).of_web(),
        calls("Guests/ListPasswordResets", ReadNodes, &[(1, "{node}")]).of_web(),
        calls(
            "Guests/ResetPassword",
            WriteDeployments,
            &[(1, "{node}"), (2, "root")],
        )
        .of_web(),
        calls("Nodes/Why", ReadNodes, &[(1, "{node}")]).of_web(),
        calls("Nodes/ApproveNode", WriteNodes, &[(1, "{free}")]),
        calls("Nodes/AnnounceNode", WriteNodes, &[(1, "announced-{who}")]),
        calls("Nodes/BeginMaintenance", WriteNodes, &[(1, "{node}"), (2, "so")]).of_web(),
        calls("Nodes/EndMaintenance", WriteNodes, &[(1, "{node}")]).of_web(),
        calls("Nodes/RetireNode", WriteNodes, &[(1, "{free}")]),
        calls("Nodes/ReleaseNode", WriteDeployments, &[(1, "{node}")]).of_web(),
        calls("Nodes/ListWipeCertificates", ReadNodes, &[]),
        calls("Rescues/BeginRescue", WriteDeployments, &[(1, "{node}")]).of_web(),
        calls("Rescues/NewRescuePassword", WriteDeployments, &[(1, "{node}")]).of_web(),
        calls("Rescues/EndRescue", WriteDeployments, &[(1, "{node}")]).of_web(),
        calls("Nodes/ConfirmNode", WriteNodes, &[(1, "{free}")]),
        calls("Nodes/TakeConsole", WriteNodes, &[(1, "{node}")]).of_web(),
        calls("Nodes/AssignNode", WriteNodes, &[(1, "{free}"), (2, "platform")]),
        calls("Nodes/DeleteNode", WriteNodes, &[(1, "{free}")]),
        calls("Volumes/ListVolumes", ReadNodes, &[]),
        calls("Volumes/GetVolume", ReadNodes, &[(1, "{volume}")]).of_web(),
        calls("Volumes/CreateVolume", WriteNodes, &[(1, "made-{who}")]),
        calls(
            "Volumes/AttachVolume",
            WriteDeployments,
            &[(1, "{volume}"), (2, "{node}")],
        )
        .of_web(),
        calls("Volumes/DetachVolume", WriteDeployments, &[(1, "{volume}")]).of_web(),
        calls("Volumes/DeleteVolume", WriteNodes, &[(1, "{volume}")]),
        calls("Volumes/ListOrphans", WriteNodes, &[]),
        calls("Volumes/GetCard", ReadNodes, &[(1, "{node}")]).of_web(),
        calls("Volumes/SetCard", WriteNodes, &[(1, "{node}")]),
        calls("Power/GetBmc", ReadNodes, &[(1, "{node}")]).of_web(),
        calls("Power/GetBmcHardware", ReadNodes, &[(1, "{node}")]).of_web(),
        calls("Power/GetPower", ReadNodes, &[(1, "{node}")]).of_web(),
        calls("Power/SetBmc", WriteNodes, &[(1, "{node}"), (2, "manual")]),
        calls("Power/SetMedia", WriteNodes, &[(1, "{node}")]),
        calls("Power/DeleteBmc", WriteNodes, &[(1, "{node}")]),
        calls("Power/ChangePower", WriteDeployments, &[(1, "{node}"), (2, "on")]).of_web(),
        calls("Models/ListModels", ReadNodes, &[]),
        calls("Models/GetModel", ReadNodes, &[(1, "qemu-q35")]),
        calls("Models/ApplyModel", WriteNodes, &[(1, "x")]),
        calls("Models/DeleteModel", WriteNodes, &[(1, "qemu-q35")]),
        calls("Models/SuggestModel", ReadNodes, &[(1, "{node}")]).of_web(),
        calls("Matching/MatchNode", ReadNodes, &[(1, "{node}")]).of_web(),
        calls("Matching/MatchImage", ReadNodes, &[(1, "{image}")]).of_web(),
        calls(
            "Deployments/CreateDeployment",
            WriteDeployments,
            &[(1, "{node}"), (2, "{image}")],
        )
        .of_web(),
        calls(
            "Deployments/PlanDeployment",
            WriteDeployments,
            &[(1, "{node}"), (2, "{image}")],
        )
        .of_web(),
        calls(
            "Deployments/GetDeployment",
            ReadDeployments,
            &[(1, "{deployment}")],
        )
        .of_web(),
        calls("Deployments/ReadLog", ReadDeployments, &[(1, "{deployment}")]).of_web(),
        calls("Deployments/ListDeployments", ReadDeployments, &[]),
        calls("Batches/CreateBatch", WriteDeployments, &[(1, "{node}")]).of_web(),
        calls("Batches/ListBatches", ReadDeployments, &[]),
        calls("Batches/GetBatch", ReadDeployments, &[(1, "{deployment}")]).of_web(),
        calls("Batches/CancelBatch", WriteDeployments, &[(1, "{deployment}")]).of_web(),
        calls(
            "Deployments/AcceptDeployment",
            WriteDeployments,
            &[(1, "{deployment}")],
        )
        .of_web(),
        calls(
            "Deployments/CancelDeployment",
            WriteDeployments,
            &[(1, "{deployment}")],
        )
        .of_web(),
        // what others above still need
        calls("Images/DeleteImage", WriteImages, &[(1, "{image}")]).of_web(),
        calls("Events/ListEvents", ReadEvents, &[]),
        calls("Events/WatchEvents", ReadEvents, &[]),
        calls("Webhooks/ListWebhooks", ManageWebhooks, &[]),
        calls("Webhooks/GetWebhook", ManageWebhooks, &[(1, "{webhook}")]),
        calls(
            "Webhooks/CreateWebhook",
            ManageWebhooks,
            &[(1, "grpc-{who}"), (2, "https://127.0.0.1:9/")],
        ),
        calls("Webhooks/DisableWebhook", ManageWebhooks, &[(1, "{webhook}")]),
        calls("Webhooks/EnableWebhook", ManageWebhooks, &[(1, "{webhook}")]),
        calls("Webhooks/TestWebhook", ManageWebhooks, &[(1, "{webhook}")]),
        calls("Webhooks/DeleteWebhook", ManageWebhooks, &[(1, "{webhook}")]),
        calls("Imports/StartImport", WriteImages, &[]),
        calls("Imports/ImportFile", WriteImages, &[]),
        calls("Jobs/ListJobs", ReadJobs, &[]),
        calls("Jobs/GetJob", ReadJobs, &[(1, "{job}")]).of_web(),
        calls("Jobs/CancelJob", WriteJobs, &[(1, "{job}")]).of_web(),
        calls("Store/GetStore", ManageStore, &[]),
        calls("Store/VerifyStore", ManageStore, &[]),
        calls("Store/CollectGarbage", ManageStore, &[]),
        calls("Billing/GetQuota", ReadImages, &[]),
        calls("Billing/SetQuota", ManageTenants, &[(1, "{project}")]),
        calls("Billing/GetUsage", ReadImages, &[]),
        calls("Billing/ListUsageRecords", ReadImages, &[]),
        method("Projects/ListProjects", Needs::Token, &[]),
        method("Projects/GetProject", Needs::Token, &[(1, "{project}")]).of_web(),
        method("Projects/ListProjectUsers", Needs::Token, &[(1, "{project}")]).of_web(),
        calls("Projects/CreateProject", ManageTenants, &[(1, "new-{who}")]),
        calls(
            "Projects/UpdateProject",
            ManageTenants,
            &[(1, "{project}"), (2, "x")],
        ),
        calls(
            "Projects/GrantRole",
            ManageTenants,
            &[(1, "{spare}"), (2, "{user}"), (3, "member")],
        ),
        calls(
            "Projects/WithdrawRole",
            ManageTenants,
            &[(1, "{spare}"), (2, "{user}")],
        ),
        calls("Projects/DeleteProject", ManageTenants, &[(1, "{spare}")]),
        calls("Users/ListUsers", ManageTenants, &[]),
        calls("Users/GetUser", ManageTenants, &[(1, "{user}")]),
        calls("Users/CreateUser", ManageTenants, &[(1, "new-{who}")]),
        calls("Users/DisableUser", ManageTenants, &[(1, "{user}")]),
        calls("Users/EnableUser", ManageTenants, &[(1, "{user}")]),
        method("Tokens/WhoAmI", Needs::Token, &[]),
        calls("Tokens/ListTokens", WriteTokens, &[]),
        calls("Tokens/GetToken", WriteTokens, &[(1, "{token}")]).of_web(),
        calls("Tokens/CreateToken", WriteTokens, &[(1, "new")]),
        calls("Tokens/RevokeToken", WriteTokens, &[(1, "{token}")]).of_web(),
    ]
}
