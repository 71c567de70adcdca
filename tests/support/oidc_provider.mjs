// A real OpenID provider for the tests. Whoever signs in as `ann` is ann@example.org; what follows a plus says more:
// `ann+unverified` has an address that nobody has verified, `ann+none` tells no address.
import { Provider } from "oidc-provider";

const { ISSUER, PORT, CLIENT_ID, CLIENT_SECRET, REDIRECT_URIS } = process.env;

const provider = new Provider(ISSUER, {
  clients: [{
    client_id: CLIENT_ID,
    client_secret: CLIENT_SECRET,
    redirect_uris: REDIRECT_URIS.split(" "),
    grant_types: ["authorization_code"],
    response_types: ["code"],
  }],
  pkce: { required: () => true },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  conformIdTokenClaims: false,
  findAccount: (context, id) => ({
    accountId: id,
    claims: () => {
      const [name, kind] = id.split("+");
      const claims = { sub: id, name: name[0].toUpperCase() + name.slice(1) };
      if (kind !== "none") Object.assign(claims, { email: `${name}@example.org`, email_verified: kind !== "unverified" });
      return claims;
    },
  }),
  cookies: { keys: ["only for tests"] },
  features: { devInteractions: { enabled: true } },
});
provider.listen(Number(PORT), "127.0.0.1");
