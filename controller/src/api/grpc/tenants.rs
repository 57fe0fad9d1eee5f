//! gRPC: projects, users and API tokens.

use imprint_proto::v1::{
    self as wire, CreateProjectRequest, CreateTokenRequest, CreateTokenResponse, CreateUserRequest,
    DeleteProjectRequest, DisableUserRequest, EnableUserRequest, GetProjectRequest, GetTokenRequest,
    GetUserRequest, GrantRoleRequest, ListProjectUsersRequest, ListProjectUsersResponse, ListProjectsRequest,
    ListProjectsResponse, ListTokensRequest, ListTokensResponse, ListUsersRequest, ListUsersResponse,
    RevokeTokenRequest, UpdateProjectRequest, WhoAmIRequest, WhoAmIResponse, WithdrawRoleRequest,
    projects_server::{Projects, ProjectsServer},
    tokens_server::{Tokens, TokensServer},
    users_server::{Users, UsersServer},
};
use tonic::{Request, Response, Status, service::RoutesBuilder};

use super::{
    caller,
    nodes::{status, timestamp},
};
use crate::{
    app::App,
    identity::{
        Permission, Project, ProjectChange, ProjectUser, Role, Scope, TenantError, Token, TokenQuery,
        TokenRequest, User,
    },
};

/// Adds the services to the server.
pub fn register(routes: &mut RoutesBuilder, app: &App) {
    routes.add_service(ProjectsServer::new(TenantsService(app.clone())));
    routes.add_service(UsersServer::new(TenantsService(app.clone())));
    routes.add_service(TokensServer::new(TenantsService(app.clone())));
}

/// `imprint.v1.Projects`, `imprint.v1.Users` and `imprint.v1.Tokens`.
#[derive(Debug, Clone)]
struct TenantsService(App);

type Answer<T> = Result<Response<T>, Status>;

fn answer<T, W>(result: Result<T, TenantError>, wire: impl FnOnce(T) -> W) -> Answer<W> {
    result
        .map(|value| Response::new(wire(value)))
        .map_err(status::<TenantError>)
}

fn project(project: Project) -> wire::Project {
    wire::Project {
        id: project.id,
        name: project.name,
        description: project.description,
        max_images_per_user: project.max_images_per_user,
        max_stored_bytes: project.max_stored_bytes,
        created_at: Some(timestamp(project.created_at)),
    }
}

fn project_user(user: ProjectUser) -> wire::ProjectUser {
    wire::ProjectUser {
        user_id: user.user_id,
        name: user.name,
        role: user.role.to_string(),
        disabled_at: user.disabled_at.map(timestamp),
        created_at: Some(timestamp(user.created_at)),
    }
}

fn user(user: User) -> wire::User {
    wire::User {
        id: user.id,
        name: user.name,
        disabled_at: user.disabled_at.map(timestamp),
        created_at: Some(timestamp(user.created_at)),
    }
}

fn texts(scopes: Vec<Scope>) -> Vec<String> {
    scopes.into_iter().map(String::from).collect()
}

fn token(token: Token) -> wire::Token {
    wire::Token {
        id: token.id,
        name: token.name,
        user_id: token.user_id.unwrap_or_default(),
        user: token.user.unwrap_or_default(),
        project_id: token.project_id,
        project: token.project,
        role: token.role.to_string(),
        scopes: texts(token.scopes.unwrap_or_default()),
        created_at: Some(timestamp(token.created_at)),
        expires_at: token.expires_at.map(timestamp),
        revoked_at: token.revoked_at.map(timestamp),
    }
}

fn role(text: &str) -> Result<Role, Status> {
    text.parse().map_err(|_| {
        Status::invalid_argument("There is no such role. Use reader, member, operator or admin.")
    })
}

#[tonic::async_trait]
impl Projects for TenantsService {
    async fn list_projects(&self, request: Request<ListProjectsRequest>) -> Answer<ListProjectsResponse> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let page = self
            .0
            .tenants
            .projects(&caller.viewer(), request.page_size, Some(&request.page_token))
            .await;
        answer(page, |page| ListProjectsResponse {
            projects: page.items.into_iter().map(project).collect(),
            next_page_token: page.next.unwrap_or_default(),
        })
    }

    async fn get_project(&self, request: Request<GetProjectRequest>) -> Answer<wire::Project> {
        let caller = caller(&request)?;
        let name = request.into_inner().project;
        answer(self.0.tenants.project(&caller.viewer(), &name).await, project)
    }

    async fn create_project(&self, request: Request<CreateProjectRequest>) -> Answer<wire::Project> {
        let caller = caller(&request)?;
        caller.require(Permission::ManageTenants)?;
        let request = request.into_inner();
        let change = ProjectChange {
            description: Some(request.description),
            max_images_per_user: request.max_images_per_user,
            max_stored_bytes: request.max_stored_bytes,
        };
        let made = self
            .0
            .tenants
            .create_project(&caller, &request.name, &change)
            .await;
        answer(made, project)
    }

    async fn update_project(&self, request: Request<UpdateProjectRequest>) -> Answer<wire::Project> {
        let caller = caller(&request)?;
        caller.require(Permission::ManageTenants)?;
        let request = request.into_inner();
        let change = ProjectChange {
            description: request.description,
            max_images_per_user: request.max_images_per_user,
            max_stored_bytes: request.max_stored_bytes,
        };
        let changed = self
            .0
            .tenants
            .update_project(&caller, &request.project, &change)
            .await;
        answer(changed, project)
    }

    async fn delete_project(&self, request: Request<DeleteProjectRequest>) -> Answer<wire::Project> {
        let caller = caller(&request)?;
        caller.require(Permission::ManageTenants)?;
        let name = request.into_inner().project;
        answer(self.0.tenants.delete_project(&caller, &name).await, project)
    }

    async fn list_project_users(
        &self,
        request: Request<ListProjectUsersRequest>,
    ) -> Answer<ListProjectUsersResponse> {
        let caller = caller(&request)?;
        let name = request.into_inner().project;
        let users = self.0.tenants.project_users(&caller.viewer(), &name).await;
        answer(users, |users| ListProjectUsersResponse {
            users: users.into_iter().map(project_user).collect(),
        })
    }

    async fn grant_role(&self, request: Request<GrantRoleRequest>) -> Answer<wire::ProjectUser> {
        let caller = caller(&request)?;
        caller.require(Permission::ManageTenants)?;
        let request = request.into_inner();
        let role = role(&request.role)?;
        let granted = self
            .0
            .tenants
            .grant(&caller, &request.project, &request.user, role)
            .await;
        answer(granted, project_user)
    }

    async fn withdraw_role(&self, request: Request<WithdrawRoleRequest>) -> Answer<wire::ProjectUser> {
        let caller = caller(&request)?;
        caller.require(Permission::ManageTenants)?;
        let request = request.into_inner();
        let former = self
            .0
            .tenants
            .withdraw(&caller, &request.project, &request.user)
            .await;
        answer(former, project_user)
    }
}

#[tonic::async_trait]
impl Users for TenantsService {
    async fn list_users(&self, request: Request<ListUsersRequest>) -> Answer<ListUsersResponse> {
        caller(&request)?.require(Permission::ManageTenants)?;
        let request = request.into_inner();
        let page = self
            .0
            .tenants
            .users(request.page_size, Some(&request.page_token))
            .await;
        answer(page, |page| ListUsersResponse {
            users: page.items.into_iter().map(user).collect(),
            next_page_token: page.next.unwrap_or_default(),
        })
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Answer<wire::User> {
        caller(&request)?.require(Permission::ManageTenants)?;
        answer(self.0.tenants.user(&request.into_inner().user).await, user)
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Answer<wire::User> {
        let caller = caller(&request)?;
        caller.require(Permission::ManageTenants)?;
        let name = request.into_inner().name;
        answer(self.0.tenants.create_user(&caller, &name).await, user)
    }

    async fn disable_user(&self, request: Request<DisableUserRequest>) -> Answer<wire::User> {
        let caller = caller(&request)?;
        caller.require(Permission::ManageTenants)?;
        let name = request.into_inner().user;
        answer(self.0.tenants.disable_user(&caller, &name).await, user)
    }

    async fn enable_user(&self, request: Request<EnableUserRequest>) -> Answer<wire::User> {
        let caller = caller(&request)?;
        caller.require(Permission::ManageTenants)?;
        let name = request.into_inner().user;
        answer(self.0.tenants.enable_user(&caller, &name).await, user)
    }
}

#[tonic::async_trait]
impl Tokens for TenantsService {
    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Answer<WhoAmIResponse> {
        let caller = caller(&request)?;
        answer(self.0.tenants.who_am_i(&caller).await, |who| WhoAmIResponse {
            name: who.name,
            user_id: who.user_id.unwrap_or_default(),
            token_id: who.token_id,
            project_id: who.project_id,
            project: who.project,
            role: who.role.to_string(),
            scopes: texts(who.scopes.unwrap_or_default()),
            may: texts(who.may),
            expires_at: who.expires_at.map(timestamp),
        })
    }

    async fn list_tokens(&self, request: Request<ListTokensRequest>) -> Answer<ListTokensResponse> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteTokens)?;
        let request = request.into_inner();
        let query = TokenQuery {
            user: Some(request.user),
            project: Some(request.project),
            page_size: request.page_size,
            page_token: Some(request.page_token),
        };
        answer(self.0.tenants.tokens(&caller, &query).await, |page| {
            ListTokensResponse {
                tokens: page.items.into_iter().map(token).collect(),
                next_page_token: page.next.unwrap_or_default(),
            }
        })
    }

    async fn get_token(&self, request: Request<GetTokenRequest>) -> Answer<wire::Token> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteTokens)?;
        let id = request.into_inner().token;
        answer(self.0.tenants.token(&caller, &id).await, token)
    }

    async fn create_token(&self, request: Request<CreateTokenRequest>) -> Answer<CreateTokenResponse> {
        let caller = caller(&request)?;
        caller.require(Permission::WriteTokens)?;
        let request = request.into_inner();
        let scopes: Result<Vec<Scope>, _> = request.scopes.iter().map(|text| text.parse()).collect();
        let scopes = scopes
            .map_err(|error: crate::identity::UnknownScope| Status::invalid_argument(error.to_string()))?;
        let wanted = TokenRequest {
            name: request.name,
            project: Some(request.project),
            user: Some(request.user),
            service: request.service,
            role: match request.role.as_str() {
                "" => None,
                text => Some(role(text)?),
            },
            scopes: Some(scopes).filter(|scopes| !scopes.is_empty()),
            expires_in_days: Some(request.expires_in_days).filter(|days| *days != 0),
        };
        answer(
            self.0.tenants.create_token(&caller, &wanted).await,
            |(made, new)| CreateTokenResponse {
                token: Some(token(made)),
                secret: new.secret.to_string(),
            },
        )
    }

    async fn revoke_token(&self, request: Request<RevokeTokenRequest>) -> Answer<wire::Token> {
        let caller = caller(&request)?;
        let id = &request.get_ref().token;
        if !id.eq_ignore_ascii_case(&caller.token_id) {
            caller.require(Permission::WriteTokens)?;
        }
        answer(self.0.tenants.revoke_token(&caller, id).await, token)
    }
}
